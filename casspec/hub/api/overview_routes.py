"""Everything at a glance: how much there is, and profiles by model and device."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from casspec.hub.api.answers import document_answer
from casspec.storage.repository import Repository
from casspec.storage.summaries.documents import PRODUCTION, Matrix, Overview
from casspec.storage.summaries.profile_list import MOST_CELLS


def overview_routes(repository: Repository) -> APIRouter:
    """The routes /v1/overview and /v1/matrix."""
    routes = APIRouter(prefix="/v1")

    @routes.get("/overview")
    def overview() -> Response:
        return document_answer(Overview(jobs=repository.jobs.counts(), profiles=repository.summaries.count()))

    @routes.get("/matrix")
    def matrix(
        alias: Annotated[str, Query(pattern="^[a-z][a-z0-9-]{0,63}$")] = PRODUCTION,
        limit: Annotated[int, Query(ge=1, le=MOST_CELLS)] = MOST_CELLS,
    ) -> Response:
        cells = repository.summaries.matrix(alias, repository.aliases(), limit)
        return document_answer(Matrix(alias=alias, cells=tuple(cells)))

    return routes
