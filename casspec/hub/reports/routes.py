"""Reports of servers over HTTP, and what drift led to."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse, Response

from casspec.hub.reports.considered import considered, moment
from casspec.hub.settings import HubSettings
from casspec.hub.suites import keep_traffic
from casspec.server.errors import ApiError
from casspec.storage.reports.documents import NAME, ReceivedReport, ServerReport
from casspec.storage.repository import Repository

MOST_BYTES = 256 << 10
"""Of a report without its requests."""

Limit = Annotated[int, Query(ge=1, le=500)]
Profile = Annotated[str | None, Query(pattern="^[a-z0-9-]{1,64}$")]


class ReportSubmission(ServerReport):
    """A report, and requests that the server recorded."""

    traffic: str | None = None
    """Lines of JSON, as `casspec serve --record-traffic` writes them."""


def report_routes(repository: Repository, settings: HubSettings) -> APIRouter:
    """The routes /v1/reports and /v1/recalibrations."""
    routes = APIRouter(prefix="/v1")

    @routes.post("/reports")
    def report(body: ReportSubmission) -> Response:
        received = _received(repository, settings, body)
        repository.reports.add(received)
        wants = settings.drift is not None and _wants_traffic(repository, received.profile_hash)
        return JSONResponse({"received_at": received.received_at, "wants_traffic": wants}, 201)

    @routes.get("/reports")
    def reports(
        profile: Profile = None,
        server: Annotated[str | None, Query(pattern=NAME)] = None,
        history: bool = False,
        limit: Limit = 50,
    ) -> Response:
        profile_hash = _hash(repository, profile)
        found = (repository.reports.history if history else repository.reports.latest)(profile_hash, server, limit)
        return JSONResponse({"reports": [each.model_dump(mode="json") for each in found]})

    @routes.get("/recalibrations")
    def recalibrations(profile: Profile = None, limit: Limit = 50) -> Response:
        found = repository.recalibrations.listed(_hash(repository, profile), limit)
        return JSONResponse(
            {
                "policy": None if settings.drift is None else asdict(settings.drift),
                "drifting": _drifting(repository, settings),
                "recalibrations": [each.model_dump(mode="json") for each in found],
            }
        )

    return routes


def _received(repository: Repository, settings: HubSettings, body: ReportSubmission) -> ReceivedReport:
    """What is kept. Raises ApiError for what is too large or no JSON, ProfileNotFound, SuiteError."""
    told = body.model_dump(mode="json", exclude={"traffic"})
    try:
        n_bytes = len(json.dumps(told, allow_nan=False))
    except ValueError:
        raise ApiError(400, "a report has finite numbers only", "summary", "invalid_value") from None
    if n_bytes > MOST_BYTES:
        raise ApiError(413, f"a report has {MOST_BYTES} bytes at most", "summary", "too_large")
    try:
        ReportSubmission.model_validate_json(json.dumps(told))
    except ValueError:
        raise ApiError(400, "a report holds half a character (a lone surrogate)", "summary", "invalid_value") from None
    if not re.fullmatch("[0-9a-f]{12,64}", body.summary.profile_id):
        raise ApiError(400, "a report names its profile by its ID", "summary.profile_id", "invalid_value")
    profile = repository.profile(body.summary.profile_id)
    profile_hash = profile.content_hash()
    suite_sha256 = None
    if body.traffic is not None and settings.drift is not None and _wants_traffic(repository, profile_hash):
        suite_sha256 = keep_traffic(repository, body.traffic)
    kept = {"profile_hash": profile_hash, "received_at": moment(time.time()), "suite_sha256": suite_sha256}
    return ReceivedReport.model_validate(told | kept)


def _wants_traffic(repository: Repository, profile_hash: str) -> bool:
    """Whether a re-calibration waits for requests of this profile's servers."""
    waiting = (one for one in repository.recalibrations.open() if one.state == "wanted")
    return any(
        one.profile_hash == profile_hash and repository.reports.with_traffic(profile_hash, one.began_at) is None
        for one in waiting
    )


def _drifting(repository: Repository, settings: HubSettings) -> list[dict[str, Any]]:
    """Profiles that drift and are not being calibrated again, with the reason."""
    if settings.drift is None:
        return []
    return [
        {"profile_hash": each.profile.content_hash(), "alias": each.alias or None, "says": each.says}
        for each in considered(repository, settings.drift, time.time())
    ]


def _hash(repository: Repository, selection: str | None) -> str | None:
    return None if selection is None else repository.profile(selection).content_hash()
