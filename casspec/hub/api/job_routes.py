"""Jobs over HTTP: submitted, listed, followed, cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from casspec.hub.settings import HubSettings
from casspec.hub.suites import keep_suite
from casspec.hub.working.calibration import check_suite_name
from casspec.server.errors import ApiError
from casspec.storage.errors import ProfileNotFound, StorageError
from casspec.storage.jobs.documents import Job, JobRequest, JobStatus
from casspec.storage.repository import Repository

ID = "^[0-9a-f]{16}$"
JobID = Annotated[str, Path(pattern=ID)]


class Submission(JobRequest):
    """A job, and the prompts it is to be made with."""

    prompts: str | None = None
    """Lines of JSON, as `casspec calibrate --suite` reads them."""
    job_id: str | None = Field(None, pattern=ID)
    """Chosen by the client, so that a request that is sent twice is one job."""


def job_routes(repository: Repository, settings: HubSettings) -> APIRouter:
    """The routes under /v1/jobs."""
    routes, jobs, streams = APIRouter(prefix="/v1/jobs"), repository.jobs, Streams(repository, settings)

    @routes.post("")
    def submit(body: Submission) -> Response:
        jobs.check_room(settings.max_queued, body.job_id)  # before its prompts are kept
        return _answer(jobs.submit(_request(repository, settings, body), body.job_id, settings.max_queued), 201)

    @routes.get("")
    def listed(
        status: JobStatus | None = None,
        device: Annotated[str | None, Query(max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        before: Annotated[str | None, Query(pattern=ID)] = None,
    ) -> Response:
        found = jobs.listed(status, device, limit, before)
        return JSONResponse({"jobs": [job.model_dump(mode="json") for job in found]})

    @routes.get("/{job_id}")
    def one(job_id: JobID) -> Response:
        return _answer(jobs.get(job_id))

    @routes.post("/{job_id}/cancel")
    def cancel(job_id: JobID) -> Response:
        return _answer(jobs.ask_to_cancel(job_id))

    @routes.get("/{job_id}/logs")
    def logs(job_id: JobID, after: Annotated[int, Query(ge=0, lt=2**31)] = 0) -> Response:
        return JSONResponse(jobs.log(job_id, after).model_dump(mode="json"))

    @routes.get("/{job_id}/events")
    async def events(job_id: JobID) -> Response:
        return await streams.of(job_id)

    return routes


class Streams:
    """Server-sent events: the job as it stands, whenever it has changed, until it has ended."""

    def __init__(self, repository: Repository, settings: HubSettings) -> None:
        self._jobs, self._settings, self._n_open = repository.jobs, settings, 0

    async def of(self, job_id: str) -> Response:
        """Raises JobNotFound, and ApiError 429 where too many are open."""
        if self._n_open >= self._settings.max_streams:
            raise ApiError(
                429, f"{self._n_open} streams are open: ask for /v1/jobs/{job_id} instead", code="too_many_streams"
            )
        job = await asyncio.to_thread(self._jobs.get, job_id)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(job), media_type="text/event-stream", headers=headers)

    async def _events(self, job: Job) -> AsyncIterator[str]:
        if self._n_open >= self._settings.max_streams:  # others came between
            yield ": too many streams are open\n\n"
            return
        self._n_open += 1
        try:
            yield _event(job)
            while not job.has_ended:
                await asyncio.sleep(self._settings.poll_s)
                try:
                    before, job = job, await asyncio.to_thread(self._jobs.get, job.job_id)
                except StorageError:
                    yield ": the store is away\n\n"
                    continue
                yield _event(job) if job != before else ": still there\n\n"
        finally:
            self._n_open -= 1


def _request(repository: Repository, settings: HubSettings, body: Submission) -> JobRequest:
    """What is queued. Raises UnsupportedOption and SuiteError for what no worker would take."""
    settings.allowed.located(body.model)
    if body.suite is not None:
        check_suite_name(body.suite)
    if body.against is not None:
        _check_against(repository, body.against)
    asked: dict[str, Any] = body.model_dump(exclude={"prompts", "job_id"})
    if body.prompts is not None:
        if body.suite is not None or body.suite_sha256 is not None:
            raise ApiError(400, "prompts: leave out suite and suite_sha256, or the prompts", "prompts", "invalid_value")
        asked["suite_sha256"] = keep_suite(repository, body.prompts)
    elif body.suite_sha256 is not None and repository.artifact(body.suite_sha256) is None:
        raise ApiError(400, "suite_sha256: no such suite is stored, send its prompts", "suite_sha256", "invalid_value")
    return JobRequest.model_validate(asked)


def _check_against(repository: Repository, profile_hash: str) -> None:
    """Raises ApiError for a profile that is not stored."""
    try:
        repository.profile(profile_hash)
    except ProfileNotFound:
        raise ApiError(400, "against: no such profile is stored", "against", "invalid_value") from None


def _event(job: Job) -> str:
    return f"event: job\ndata: {job.canonical_json()}\n\n"


def _answer(job: Job, status: int = 200) -> Response:
    return JSONResponse(job.model_dump(mode="json"), status)
