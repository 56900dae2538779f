"""A re-calibration from one state to the next.

Every step may be taken twice: a job has the re-calibration's ID, and an alias is given to whoever has it. So a hub that is killed
between a step and its note is followed by one that takes the step again.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import ValidationError

from casspec.hub.allowed import AllowedModels
from casspec.hub.reports.drift_settings import DAY_S
from casspec.hub.reports.verdict import Verdict, verdict
from casspec.storage.errors import CasspecError, JobNotFound, ProfileNotFound, StorageError
from casspec.storage.jobs.documents import Job, JobRequest
from casspec.storage.reports.documents import OPEN, Decision, Recalibration, RecalibrationState
from casspec.storage.repository import LEAN, Repository
from casspec.storage.schema import CascadeProfile

GIVE_UP_S = DAY_S
"""Seconds that traffic is waited for."""


class Steps:
    """Of one hub.

    Args:
        allowed: models that jobs may be of.
    """

    def __init__(self, repository: Repository, allowed: AllowedModels) -> None:
        self._repository, self._allowed = repository, allowed

    def next(self, one: Recalibration, at: str) -> Recalibration | None:
        """As it stands after its next step, which is taken and not noted; None while there is none to take.

        Args:
            at: UTC, ISO 8601.

        Raises StorageError.
        """
        try:
            profile = self._repository.profile(one.profile_hash)
            if one.state == "wanted":
                return self._queued(one, profile, at)
            return self._ended(one, profile, at)
        except ProfileNotFound as error:
            return _changed(one, at, "failed", str(error))

    def _queued(self, one: Recalibration, profile: CascadeProfile, at: str) -> Recalibration | None:
        """Its job is submitted as soon as there is traffic."""
        if self._repository.alias_holders(profile).get(one.alias) != one.profile_hash:
            return _changed(one, at, "failed", f"another profile is '{one.alias}' by now")
        report = self._repository.reports.with_traffic(one.profile_hash, one.began_at)
        if report is None or report.suite_sha256 is None:
            if _seconds(one.began_at, at) < GIVE_UP_S:
                return None
            why = "no server sent recorded requests: start one with --record-traffic FILE --share-traffic"
            return _changed(one, at, "failed", why)
        try:
            request = self._request(profile, report.suite_sha256)
            self._allowed.located(request.model)
            job = self._repository.jobs.submit(request, one.recalibration_id)
            request = request.model_copy(
                update={"suite_sha256": job.request.suite_sha256}
            )  # another hub may have been first
            if job.request != request:
                return _changed(one, at, "failed", f"job {job.job_id} is somebody else's")
        except StorageError:
            raise
        except (CasspecError, ValidationError) as error:
            return _changed(one, at, "failed", str(error))
        says = f"job {job.job_id} calibrates {request.model} on requests that {report.server} recorded"
        return _changed(one, at, "queued", says, suite_sha256=request.suite_sha256)

    def _request(self, profile: CascadeProfile, suite_sha256: str) -> JobRequest:
        """As the job that made the profile, where one did; on other prompts, and raced with the profile."""
        made = self._repository.jobs.maker_of(profile.content_hash())
        device = "cpu" if profile.device.kind == "cpu" else profile.device.name
        asked = {"model": profile.model.name, "device": device} if made is None else made.request.model_dump()
        changes: dict[str, Any] = {
            "dtype": profile.dtype,
            "backend": profile.backend or LEAN,
            "suite": None,
            "suite_sha256": suite_sha256,
            "bench": None,
            "force": False,
            "against": profile.content_hash(),
        }
        return JobRequest.model_validate(asked | changes)

    def _ended(self, one: Recalibration, old: CascadeProfile, at: str) -> Recalibration | None:
        """The better profile is at the alias once the job has ended."""
        try:
            job = self._repository.jobs.get(one.recalibration_id)
        except JobNotFound as error:
            return _changed(one, at, "failed", str(error))
        if not job.has_ended:
            return None
        if job.status != "done" or job.profile_hash is None:
            return _changed(one, at, "failed", f"its job {_outcome(job)}")
        new = self._repository.profile(job.profile_hash)
        state, says, speed = self._decided(one, old, new)
        return _changed(one, at, state, says, new_profile_hash=job.profile_hash, speed=speed)

    def _decided(
        self, one: Recalibration, old: CascadeProfile, new: CascadeProfile
    ) -> tuple[RecalibrationState, str, float | None]:
        """The better of the two is at the alias then: state, line, speed."""
        new_hash, named = new.content_hash(), f"profile {new.profile_id}"
        if new_hash == one.profile_hash:
            return "kept", "the calibration found the same profile", None
        found = verdict(self._repository.bench_reports(new_hash), new, old)
        if found is None:
            return "kept", f"{named} was not measured beside it: no prompt leaves room for the benchmark", None
        with self._repository.alone():  # nobody promotes between the look and the promotion
            return self._promoted(one, old, new, named, found)

    def _promoted(
        self, one: Recalibration, old: CascadeProfile, new: CascadeProfile, named: str, found: Verdict
    ) -> tuple[RecalibrationState, str, float | None]:
        new_hash = new.content_hash()
        holder = self._repository.alias_holders(old).get(one.alias)
        if holder not in (one.profile_hash, new_hash):
            return "kept", f"{named} is {found.says}, and somebody made another profile '{one.alias}'", found.speed
        if _subject(new) != _subject(old):
            return "kept", f"{named} is {found.says}, and of another device: promote it there by hand", found.speed
        if found.speed <= 1.0:
            return "kept", f"{named} is {found.says}", found.speed
        self._repository.set_alias(one.alias, new_hash)
        return "promoted", f"{named} is {found.says} and '{one.alias}' from now on", found.speed


def _changed(one: Recalibration, at: str, state: RecalibrationState, says: str, **changes: Any) -> Recalibration:
    decision = Decision(at=at, says=" ".join(says.split()))
    told = {"state": state, "ended_at": None if state in OPEN else at, "decisions": (*one.decisions, decision)}
    return one.model_copy(update=told | changes)


def _outcome(job: Job) -> str:
    return f"is {job.status}{'' if job.message is None else f': {job.message}'}"


def _subject(profile: CascadeProfile) -> tuple[str, str, str, str]:
    """What aliases are given within."""
    return profile.model.identity(), profile.device.identity(), profile.dtype, profile.backend or LEAN


def _seconds(begin: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
