"""Hands an alias from one profile to another, where wanted only from the one it is believed to be with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from casspec.storage.errors import AliasMoved
from casspec.storage.schema import CascadeProfile

if TYPE_CHECKING:
    from casspec.storage.repository import Repository


class Anyone:
    """Whoever has the alias now."""


ANYONE: Final = Anyone()


def promote(
    repository: Repository, selection: str, alias: str, expected: str | Anyone | None = ANYONE
) -> CascadeProfile:
    """Gives a profile an alias, as `Repository.set_alias` does, and says which profile it was.

    Args:
        expected: content hash of the profile that has the alias, or the beginning of it; None where nobody is believed to have it.

    Raises what `set_alias` raises, and AliasMoved where somebody else has the alias.
    """
    with repository.alone():
        profile = repository.profile(selection)
        holder = repository.alias_holders(profile).get(alias)
        if not isinstance(expected, Anyone) and not _is_expected(holder, expected):
            raise AliasMoved(_told(alias, holder))
        return repository.set_alias(alias, profile.content_hash())


def _is_expected(holder: str | None, expected: str | None) -> bool:
    if holder is None or expected is None:
        return holder is expected
    return holder.startswith(expected)


def _told(alias: str, holder: str | None) -> str:
    whose = "no profile has it now" if holder is None else f"profile {holder[:12]} has it now"
    return f"{alias!r} was handed on meanwhile, {whose}: look at that one, then promote again"
