"""Profiles over HTTP: found by fingerprint, with their artifacts and exports."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from starlette.responses import JSONResponse, Response

from casspec.server.errors import ApiError
from casspec.storage.export import exporter
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile

Selection = Annotated[str, Path(pattern="^[a-z0-9-]{1,64}$")]
Identity = Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")]


def profile_routes(repository: Repository) -> APIRouter:
    """The routes under /v1/profiles. A profile is named by its ID, the beginning of one, an alias or `latest`."""
    routes = APIRouter(prefix="/v1/profiles")

    @routes.get("")
    def listed(
        model: Identity = None,
        device: Identity = None,
        dtype: Literal["float32", "bfloat16", "float16"] | None = None,
        alias: Annotated[str | None, Query(pattern="^[a-z][a-z0-9-]{0,63}$")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> Response:
        names = repository.aliases()
        found = [
            (each, names.get(each.content_hash(), [])) for each in repository.profiles_of(model, device, dtype, limit)
        ]
        shown = [_summary(profile, aliases) for profile, aliases in found if alias is None or alias in aliases]
        return JSONResponse({"profiles": shown})

    @routes.get("/{selection}")
    def one(selection: Selection) -> Response:
        profile = repository.profile(selection)
        headers = {"ETag": f'"{profile.content_hash()}"'}
        return Response(profile.canonical_json(), headers=headers, media_type="application/json")

    @routes.get("/{selection}/artifacts/{name}")
    def artifact(selection: Selection, name: str) -> Response:
        named = next((each for each in repository.profile(selection).artifacts if each.name == name), None)
        content = None if named is None else repository.artifact(named.sha256)
        if content is None:
            raise ApiError(404, "the profile has no such artifact here", "name", "artifact_not_found")
        return Response(content, media_type="application/octet-stream")

    @routes.get("/{selection}/export")
    def export(selection: Selection, to: Literal["json", "huggingface", "vllm", "skip-layers"] = "json") -> Response:
        exported = exporter(to)(repository.profile(selection))
        return JSONResponse({"text": exported.text, "fidelity": exported.fidelity, "note": exported.note})

    return routes


def _summary(profile: CascadeProfile, aliases: list[str]) -> dict[str, Any]:
    """What one chooses by. Identities are those of the queries."""
    return {
        "profile_id": profile.profile_id,
        "profile_hash": profile.content_hash(),
        "created_at": profile.created_at,
        "model": {"name": profile.model.name, "family": profile.model.family, "identity": profile.model.identity()},
        "device": profile.device.model_dump(mode="json") | {"identity": profile.device.identity()},
        "dtype": profile.dtype,
        "backend": profile.backend or "lean",
        "suite": profile.suite,
        "decision": profile.decision,
        "predicted_speedup": profile.predicted_speedup,
        "aliases": aliases,
    }
