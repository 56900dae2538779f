"""A store with a profile at an alias, servers that report drift of it, and calibrations that are stubs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from casspec.hub.allowed import AllowedModels
from casspec.hub.reports.drift_settings import DriftSettings
from casspec.hub.reports.policy import DriftPolicy
from casspec.hub.suites import keep_traffic
from casspec.hub.working.worker import JobStages, Run, Worker
from casspec.storage.jobs.documents import Job, JobRequest
from casspec.storage.jobs.queue import Place
from casspec.storage.reports.documents import Recalibration, ReceivedReport
from casspec.storage.repository import Repository
from casspec.storage.schema import BenchReport, CascadeProfile
from tests.casspec.hub.test_suites import LINES
from tests.storage import samples
from tests.storage.reports.reported import BEGIN, report

SETTINGS = DriftSettings(least_interval_s=1000.0, least_reports=2)
MODEL = "reference"


def calibrated(repository: Repository, alias: str | None = None, **changes: Any) -> CascadeProfile:
    """A finished calibration."""
    document = samples.profile(**changes)
    settings = {"content": document.content_hash()}
    made = repository.calibration(document.model, document.device, document.dtype, settings).calibration_id
    profile = repository.save_profile(made, document)
    repository.finish(made)
    if alias is not None:
        repository.set_alias(alias, profile.content_hash())
    return profile


def made_by_a_job(repository: Repository, profile: CascadeProfile, **asked: Any) -> Job:
    """The job that it comes from."""
    repository.jobs.submit(JobRequest.model_validate({"model": MODEL, "device": "cpu"} | asked))
    return worked(repository, lambda *_: profile.content_hash())


def worked(repository: Repository, run: Run) -> Job:
    """The next job, run to its end."""
    job = Worker(repository, Place("cpu", "here"), run).work_once()
    assert job is not None
    return job


def bench_of(old: CascadeProfile, new_speed: float, old_speed: float, **changes: Any) -> BenchReport:
    """A race of two profiles."""
    rows = (
        samples.bench_row(speedup=new_speed),
        samples.bench_row(speedup=old_speed, variant="against"),
    )
    return samples.bench_report(rows=rows, environment={"against": old.content_hash()}, **changes)


def finding(new_speed: float, **changes: Any) -> Callable[[Repository, Job, JobStages], str]:
    """A job that finds a profile so many times as fast as the old one."""

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        assert job.request.against is not None
        profile = calibrated(repository, seed=77, **changes)
        old = repository.profile(job.request.against)
        repository.save_bench(profile.profile_id, bench_of(old, new_speed, 1.0))
        return profile.content_hash()

    return run


class Clock:
    """Seconds since 1970 that only a test moves; reports are of its moments."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return BEGIN.timestamp() + self.seconds


class Fleet:
    """A hub's policy, and the servers that tell it of one profile."""

    def __init__(self, repository: Repository, profile: CascadeProfile, settings: DriftSettings = SETTINGS) -> None:
        self.repository, self.profile, self.clock, self.said = repository, profile, Clock(), list[str]()
        self._settings = settings
        self.restart()

    def restart(self) -> None:
        """Another hub on the same store."""
        self.policy = DriftPolicy(self.repository, self._settings, AllowedModels(), self.said.append, self.clock)

    def tell(self, drifts: bool = True, traffic: bool = False, **changes: Any) -> ReceivedReport:
        """A report, a second after the one before."""
        self.clock.seconds += 1.0
        suite = keep_traffic(self.repository, LINES) if traffic else None
        told = report(self.profile.content_hash(), self.clock.seconds, drifts, suite_sha256=suite, **changes)
        self.repository.reports.add(told)
        return told

    def tick(self, seconds: float = 1.0) -> Recalibration | None:
        """What the latest re-calibration is after another look, so many seconds later."""
        self.clock.seconds += seconds
        self.policy.tick()
        return self.repository.recalibrations.last(self.profile)

    def queued(self) -> Recalibration:
        """One whose job waits."""
        for _ in range(SETTINGS.least_reports):
            self.tell()
        self.tick()
        self.tell(traffic=True)
        one = self.tick()
        assert one is not None
        assert one.state == "queued"
        return one
