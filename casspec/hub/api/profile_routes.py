"""Profiles over HTTP: found by fingerprint, compared, promoted, with their reports, artifacts and exports."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse, JSONResponse, Response

from casspec.hub.api.answers import document_answer
from casspec.hub.api.comparison import compare
from casspec.hub.api.reports import POLICY, ReportPages
from casspec.server.errors import ApiError
from casspec.storage.errors import AliasMoved
from casspec.storage.export import exporter
from casspec.storage.repository import Repository
from casspec.storage.summaries.documents import ID, PRODUCTION, ProfilePage
from casspec.storage.summaries.profile_list import MOST_LISTED
from casspec.storage.summaries.promotion import ANYONE, promote

SELECTION = "^[a-z0-9-]{1,64}$"
Selection = Annotated[str, Path(pattern=SELECTION)]
Identity = Annotated[str | None, Query(pattern="^[0-9a-f]{64}$")]


class Promotion(BaseModel):
    """An alias, and from whom it is taken."""

    model_config = ConfigDict(extra="forbid")

    alias: str = Field(PRODUCTION, max_length=64)
    expected_current: str | None = Field(None, pattern=ID)
    """ID of the profile that has it now, null where none has: anything else is refused. Left out, whoever has it loses it."""


def profile_routes(repository: Repository) -> APIRouter:
    """The routes under /v1/profiles. A profile is named by its ID, the beginning of one, an alias or `latest`."""
    routes, reports = APIRouter(prefix="/v1/profiles"), ReportPages(repository)

    @routes.get("")
    def listed(
        model: Identity = None,
        device: Identity = None,
        dtype: Literal["float32", "bfloat16", "float16"] | None = None,
        alias: Annotated[str | None, Query(pattern="^[a-z][a-z0-9-]{0,63}$")] = None,
        limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 50,
        before: Annotated[str | None, Query(pattern=ID)] = None,
    ) -> Response:
        names = repository.aliases()
        only = None if alias is None else [each for each, given in names.items() if alias in given]
        found = repository.summaries.listed(model, device, dtype, only, limit, before, names)
        return document_answer(ProfilePage(profiles=tuple(found)))

    @routes.get("/compare")
    def compared(a: Annotated[str, Query(pattern=SELECTION)], b: Annotated[str, Query(pattern=SELECTION)]) -> Response:
        return document_answer(compare(repository, a, b))

    @routes.get("/{selection}")
    def one(selection: Selection) -> Response:
        profile = repository.profile(selection)
        headers = {"ETag": f'"{profile.content_hash()}"'}
        return Response(profile.canonical_json(), headers=headers, media_type="application/json")

    @routes.get("/{selection}/summary")
    def summary(selection: Selection) -> Response:
        profile_hash = repository.profile(selection).content_hash()
        return document_answer(repository.summaries.one(profile_hash, repository.aliases()))

    @routes.get("/{selection}/report")
    async def report(selection: Selection) -> Response:
        return HTMLResponse(await reports.of(selection), headers={"Content-Security-Policy": POLICY})

    @routes.post("/{selection}/promote")
    def promoted(selection: Selection, body: Promotion) -> Response:
        expected = body.expected_current if "expected_current" in body.model_fields_set else ANYONE
        try:
            profile = promote(repository, selection, body.alias, expected)
        except AliasMoved as error:
            raise ApiError(409, str(error), "expected_current", "alias_moved") from None
        return document_answer(repository.summaries.one(profile.content_hash(), repository.aliases()))

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
