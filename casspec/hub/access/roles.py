"""Who may do what, in one table. What is not in it needs a token: `read` to look, `submit` for everything else."""

from __future__ import annotations

from starlette.routing import compile_path

from casspec.storage.tokens import ROLES, Role

SAFE = frozenset({"GET", "HEAD"})
"""Methods that change nothing."""

OPEN = None
"""Of a route that everybody may ask."""

TABLE: dict[tuple[str, str], Role | None] = {
    ("GET", "/health"): OPEN,
    ("GET", "/version"): OPEN,
    ("GET", "/"): OPEN,
    ("GET", "/page/{name}"): OPEN,
    ("POST", "/session"): OPEN,
    ("GET", "/session"): "read",
    ("DELETE", "/session"): "read",
    ("POST", "/v1/profiles/{selection}/promote"): "admin",
    ("DELETE", "/v1/profiles/{selection}"): "admin",
}
"""Role by method and path, as routes write it. The page is open so that it can ask for a token; it holds nothing."""

_PATTERNS = [(method, compile_path(path)[0], role) for (method, path), role in TABLE.items()]


def role_of(method: str, path: str) -> Role | None:
    """What a request needs. Paths are matched as the router matches them."""
    looked_up = "GET" if method in SAFE else method
    for known, pattern, role in _PATTERNS:
        if known == looked_up and pattern.match(path):
            return role
    return "read" if method in SAFE else "submit"


def suffices(has: Role, needs: Role) -> bool:
    """Whether a role may do what another may."""
    return ROLES.index(has) >= ROLES.index(needs)
