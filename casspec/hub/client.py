"""The client of a hub: jobs and profiles as documents. The base install has all it needs."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from casspec.hub.transport import Transport
from casspec.storage.errors import HubError, HubUnreachable, SuiteError
from casspec.storage.jobs.documents import Job, JobLog, JobRequest, JobStatus, LogLine
from casspec.storage.reports.documents import Recalibration, ReceivedReport, ReportedDrift, ServerReport
from casspec.storage.schema import CascadeProfile
from casspec.storage.summaries.documents import PRODUCTION, Comparison, Matrix, ProfileSummary, Shown
from casspec.storage.watched import WatchSummary

KEY_VARIABLE = "CASSPEC_HUB_KEY"

ANYONE = "anyone"
"""In place of a profile: whoever has an alias."""

Kind = TypeVar("Kind", bound=Shown)

MOST_BROKEN = 3
"""Connections in a row that may break before anything was heard."""


class HubClient:
    """Asks one hub.

    Args:
        url: http://host:port, or hub://host:port. key: where the hub wants one; None takes CASSPEC_HUB_KEY. timeout_s: of silence.

    Every method raises HubUnreachable where the hub does not answer, and HubError, in one line, where it refuses.
    """

    def __init__(self, url: str, key: str | None = None, timeout_s: float = 30.0) -> None:
        self._transport = Transport(url, key or os.environ.get(KEY_VARIABLE) or None, timeout_s)

    @property
    def url(self) -> str:
        return self._transport.base

    def submit(self, model: str, device: str = "cpu", prompts: str | Path | None = None, **settings: Any) -> Job:
        """Queues a calibration.

        Args:
            device: kind of device, by the name its workers give. prompts: a file of JSON lines, or its text.
            settings: other fields of `JobRequest`.

        Raises HubError for settings that do not exist too.
        """
        try:
            request = JobRequest(model=model, device=device, **settings)
        except ValidationError as error:
            fault = error.errors()[0]
            raise HubError(f"{'.'.join(map(str, fault['loc'])) or 'the job'}: {fault['msg']}") from None
        body = request.model_dump(mode="json", exclude_defaults=True) | {"model": model, "device": device}
        body["job_id"] = secrets.token_hex(8)  # so that asking again after a lost answer is no second job
        if prompts is not None:
            body["prompts"] = _text(prompts) if isinstance(prompts, Path) else prompts
        return self._job("POST", ["jobs"], body)

    def job(self, job_id: str) -> Job:
        """As it stands now."""
        return self._job("GET", ["jobs", _checked(job_id)])

    def jobs(self, status: JobStatus | None = None, device: str | None = None, limit: int = 50) -> list[Job]:
        """The latest first."""
        found = self._transport.json("GET", ["jobs"], query={"status": status, "device": device, "limit": limit})
        return [_read(Job, each) for each in _listed(found, "jobs")]

    def cancel(self, job_id: str) -> Job:
        """Ends a job: a queued one at once, a running one at its next step."""
        return self._job("POST", ["jobs", _checked(job_id), "cancel"])

    def logs(self, job_id: str, after: int = 0) -> tuple[LogLine, ...]:
        """What its workers said, the latest lines of it, the earliest of them first; those with a number above `after`."""
        found: JobLog = _read(
            JobLog, self._transport.json("GET", ["jobs", _checked(job_id), "logs"], query={"after": after})
        )
        return found.lines

    def watch(self, job_id: str) -> Iterator[Job]:
        """The job whenever it has changed, until it has ended. A connection that breaks is made anew."""
        broken, last = 0, None
        while last is None or not last.has_ended:
            try:
                for job in self._events(job_id):
                    broken = 0
                    if job != last:
                        last = job
                        yield job
            except HubUnreachable:
                broken += 1
                if broken > MOST_BROKEN:
                    raise

    def profiles(
        self,
        model: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        alias: str | None = None,
        before: str | None = None,
    ) -> list[dict[str, Any]]:
        """Summaries, the latest first, at most 500. `model` and `device` are identities of fingerprints; `before` is the ID of a profile:
        those that were saved earlier."""
        query = {"model": model, "device": device, "dtype": dtype, "alias": alias, "before": before, "limit": 500}
        return _listed(self._transport.json("GET", ["profiles"], query=query), "profiles")

    def profile(self, selection: str) -> CascadeProfile:
        """By its ID, the beginning of one, an alias, or `latest`."""
        profile: CascadeProfile = _read(CascadeProfile, self._transport.json("GET", ["profiles", selection]))
        return profile

    def artifact(self, profile_id: str, name: str) -> bytes:
        """The bytes of an artifact, which its profile names by their hash."""
        return self._transport.bytes("GET", ["profiles", profile_id, "artifacts", name])

    def summary(self, selection: str) -> ProfileSummary:
        """What one chooses a profile by, its measured speed among it."""
        return self._shown(ProfileSummary, ["profiles", selection, "summary"])

    def matrix(self, alias: str = PRODUCTION) -> Matrix:
        """Profiles by model and device. A cell shows the profile that has the alias; where none has it, the latest."""
        return self._shown(Matrix, ["matrix"], {"alias": alias})

    def compare(self, a: str, b: str) -> Comparison:
        """What two profiles differ in, field by field."""
        return self._shown(Comparison, ["profiles", "compare"], {"a": a, "b": b})

    def report_page(self, selection: str) -> str:
        """The page about a profile, a whole HTML document."""
        return self._transport.bytes("GET", ["profiles", selection, "report"]).decode("utf-8")

    def promote(self, selection: str, alias: str = PRODUCTION, expected_current: str | None = ANYONE) -> ProfileSummary:
        """Gives a profile an alias.

        Args:
            expected_current: ID of the profile that has the alias now, None where none has it. Where another has it the hub refuses with
                status 409. Left out, whoever has it loses it.
        """
        body = {"alias": alias} | ({} if expected_current == ANYONE else {"expected_current": expected_current})
        answer = self._transport.json("POST", ["profiles", selection, "promote"], body)
        summary: ProfileSummary = _read(ProfileSummary, answer)
        return summary

    def _shown(self, kind: type[Kind], path: list[str], query: dict[str, str] | None = None) -> Kind:
        document: Kind = _read(kind, self._transport.json("GET", path, query=query))
        return document

    def report(
        self,
        server: str,
        summary: WatchSummary,
        drifts: Sequence[ReportedDrift] = (),
        alias: str | None = None,
        traffic: str | None = None,
    ) -> bool:
        """Tells what a server saw of the profile it serves.

        Args:
            server: its name. alias: under which it asked for the profile. traffic: requests it recorded, as lines of JSON.

        Returns whether the hub would take recorded requests of it.
        """
        told = ServerReport(server=server, alias=alias, summary=summary, drifts=tuple(drifts))
        body = told.model_dump(mode="json") | ({} if traffic is None else {"traffic": traffic})
        answer = self._transport.json("POST", ["reports"], body)
        return isinstance(answer, dict) and answer.get("wants_traffic") is True

    def reports(
        self, profile: str | None = None, server: str | None = None, history: bool = False, limit: int = 50
    ) -> list[ReceivedReport]:
        """The newest of each server and profile, the newest first; with `history` all that are kept."""
        query = {"profile": profile, "server": server, "history": str(history).lower(), "limit": limit}
        found = self._transport.json("GET", ["reports"], query=query)
        return [_read(ReceivedReport, each) for each in _listed(found, "reports")]

    def recalibrations(self, profile: str | None = None, limit: int = 50) -> list[Recalibration]:
        """What drift led to, the latest first."""
        found = self._transport.json("GET", ["recalibrations"], query={"profile": profile, "limit": limit})
        return [_read(Recalibration, each) for each in _listed(found, "recalibrations")]

    def _events(self, job_id: str) -> Iterator[Job]:
        for line in self._transport.lines(["jobs", _checked(job_id), "events"]):
            if line.startswith("data: "):
                job: Job = _read(Job, _parsed(line.removeprefix("data: ")))
                yield job
                if job.has_ended:
                    return
        raise HubUnreachable(f"the hub at {self.url} ended the events of job {job_id} before the job")

    def _job(self, method: str, path: Sequence[str], body: Any = None) -> Job:
        job: Job = _read(Job, self._transport.json(method, list(path), body))
        return job


def _checked(job_id: str) -> str:
    if re.fullmatch("[0-9a-f]{16}", job_id) is None:
        raise HubError(
            f"{job_id!r} is no ID of a job: expected 16 hexadecimal digits, as `casspec job list` shows them"
        )
    return job_id


def _text(file: Path) -> str:
    """Raises SuiteError where it is no text; where it cannot be read at all the operating system says so."""
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise SuiteError(f"{file} is no UTF-8 text (byte {error.start}): expected a prompt a line, as JSON") from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise HubError(f"the hub's answer is no JSON ({text[:40]!r}): is it a hub?") from None


def _listed(found: Any, name: str) -> list[Any]:
    """The list of that name in an answer."""
    listed = found.get(name) if isinstance(found, dict) else None
    if not isinstance(listed, list):
        raise HubError(f"the hub's answer has no list of {name}: is it a hub?")
    return listed


def _read(kind: Any, content: Any) -> Any:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"])) or kind.__name__
        raise HubError(f"the hub's answer cannot be read, {place}: {fault['msg']}; is it of another release?") from None
