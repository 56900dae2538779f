"""A worker with stubs for calibrations."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from casspec.hub.working.worker import Heart, JobStages, Run, Stopped, Worker, place_of
from casspec.storage.errors import LeaseLost, StorageError, UnsupportedModel
from casspec.storage.jobs.documents import Job, JobProgress, JobRequest
from casspec.storage.jobs.queue import EXPIRY_S, Claim, JobQueue, Place
from casspec.storage.repository import Repository

CPU = Place("cpu", "here:cpu")
PROFILE = "a" * 64


@dataclass
class FakeClock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def submit(repository: Repository) -> str:
    return repository.jobs.submit(JobRequest(model="reference", device="cpu")).job_id


def ran(repository: Repository, run: Run) -> Job:
    job = Worker(repository, CPU, run, heartbeat_s=0.01).work_once()
    assert job is not None
    return job


def until_told(repository: Repository, stages: JobStages, reason: str) -> None:
    """Steps until the job hears that it is to end."""
    with stages.stage("search", 10) as progress:
        for step in range(10**9):
            progress(step)
    pytest.fail(f"never heard of {reason}")


def test_jobs_run_in_order_and_name_their_profile(repository: Repository) -> None:
    ids, seen, told = [submit(repository) for _ in range(3)], [], list[str]()

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        seen.append(job.job_id)
        return PROFILE

    Worker(repository, CPU, run, told.append).work(lambda: False)
    assert seen == ids
    assert {repository.jobs.get(job_id).status for job_id in ids} == {"done"}
    assert told[-1] == f"job {ids[-1]}: done"


def test_progress_is_told_by_stage_and_not_too_often(repository: Repository) -> None:
    submit(repository)
    clock = FakeClock()
    claim = repository.jobs.claim("one", CPU)
    assert claim is not None
    stages = JobStages(repository.jobs, claim, lambda: False, clock)

    def now() -> JobProgress:
        return repository.jobs.get(claim.job.job_id).progress

    stages.plan(("profile", "search"), 90.0)
    with stages.stage("search", 8) as progress:
        assert now() == JobProgress(stage="2/2 search", total=8, estimate_s=90.0)
        progress(1)
        assert now().done == 0
        clock.seconds += 1
        progress(2, note="plan")
        assert now() == JobProgress(stage="2/2 search", done=2, total=8, note="plan", estimate_s=90.0)
        clock.seconds += 1
        progress(3, total=9)
        assert now() == JobProgress(stage="2/2 search", done=3, total=9, estimate_s=90.0)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UnsupportedModel("no such family:\nuse another"), "no such family: use another"),
        (
            ZeroDivisionError("division by zero"),
            "ZeroDivisionError: division by zero (this is a bug, the worker's log has more)",
        ),
    ],
)
def test_a_calibration_that_fails_ends_the_job_with_its_line(
    repository: Repository, error: Exception, message: str
) -> None:
    submit(repository)

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        raise error

    job = ran(repository, run)
    assert (job.status, job.message) == ("failed", message)


def test_a_job_says_what_became_of_it_in_its_log(repository: Repository) -> None:
    job_id = submit(repository)
    clock = FakeClock()

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        stages._clock = clock
        stages.plan(("profile", "search"), 90.0)
        with stages.stage("search", 8) as progress:
            for step in range(8):
                clock.seconds += 4
                progress(step, note=f"{step} on the front")
        logging.getLogger("casspec").warning("the machine is slow")
        raise UnsupportedModel("no such family")

    ran(repository, run)
    first, *rest = [line.text for line in repository.jobs.log(job_id).lines]
    assert first.startswith("attempt 1 on here:cpu, by ")
    assert rest == [
        "about 90 s in all",
        "2/2 search begins, 8 steps",
        "2/2 search: 0 on the front",
        "2/2 search: 3 on the front",
        "2/2 search: 6 on the front",
        "warning: the machine is slow",
        "failed: no such family",
    ]


def test_how_a_job_ended_is_told_again_to_a_store_that_was_away(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit(repository)
    finish, waits = JobQueue.finish, list[float]()

    def away_at_first(self: JobQueue, claim: Claim, profile_hash: str) -> Job:
        if len(waits) < 2:
            raise StorageError("away")
        return finish(self, claim, profile_hash)

    monkeypatch.setattr(JobQueue, "finish", away_at_first)
    job = Worker(repository, CPU, lambda *_: PROFILE, pause=waits.append).work_once()
    assert job is not None
    assert (job.status, job.attempts, len(waits)) == ("done", 1, 2)


def test_a_worker_may_be_told_which_job_to_run(repository: Repository) -> None:
    first, second = submit(repository), submit(repository)
    job = Worker(repository, CPU, lambda *_: PROFILE).work_once(only=second)
    assert job is not None
    assert (job.job_id, repository.jobs.get(first).status) == (second, "queued")


def test_a_running_job_is_cancelled_at_its_next_step(repository: Repository) -> None:
    job_id = submit(repository)

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        repository.jobs.ask_to_cancel(job_id)
        until_told(repository, stages, "cancel")
        return PROFILE

    assert ran(repository, run).status == "cancelled"
    following = submit(repository)
    assert ran(repository, lambda *_: PROFILE).job_id == following


def test_a_worker_that_lost_its_job_stops_and_says_nothing_of_it(repository: Repository) -> None:
    submit(repository)

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        assert repository.jobs.claim("heir", CPU, expiry_s=-1.0) is not None
        until_told(repository, stages, "the loss")
        return PROFILE

    job = ran(repository, run)
    assert (job.status, job.worker) == ("running", "heir")


def test_a_job_lost_just_before_its_end_is_left_to_its_heir(repository: Repository) -> None:
    submit(repository)

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        assert repository.jobs.claim("heir", CPU, expiry_s=-1.0) is not None
        return PROFILE

    assert ran(repository, run).worker == "heir"


def test_a_worker_that_is_asked_to_end_hands_its_job_back(repository: Repository) -> None:
    job_id = submit(repository)

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ran(repository, run)
    job = repository.jobs.get(job_id)
    assert (job.status, job.attempts) == ("queued", 0)
    assert ran(repository, lambda *_: PROFILE).status == "done"


def test_a_database_that_fails_meanwhile_costs_an_attempt_and_not_the_job(repository: Repository) -> None:
    submit(repository)
    waits, errors = list[int](), [StorageError("cannot be reached")]

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        if errors:
            raise errors.pop()
        return PROFILE

    def wait() -> bool:
        waits.append(1)
        return len(waits) < 2

    Worker(repository, CPU, run).work(wait)
    (job,) = repository.jobs.listed()
    assert (job.status, job.attempts, len(waits)) == ("done", 2, 2)


@pytest.mark.parametrize(
    ("error", "seconds", "reason"),
    [(LeaseLost("lost"), 0.0, "lost"), (StorageError("away"), 1.0, None), (StorageError("away"), EXPIRY_S + 1, "lost")],
)
def test_a_heart_that_cannot_beat_stops_the_job_when_others_may_have_it(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, error: Exception, seconds: float, reason: str | None
) -> None:
    submit(repository)
    clock, queue = FakeClock(), repository.jobs
    claim = queue.claim("one", CPU)
    assert claim is not None
    heart = Heart(queue, claim, clock=clock)

    def renew(self: object, claim: object) -> Job:
        raise error

    monkeypatch.setattr(type(queue), "renew", renew)
    clock.seconds += seconds
    heart.beat()
    assert heart.must_stop() is (reason is not None)
    assert heart.reason == reason


def test_a_job_that_is_stopped_writes_no_more(repository: Repository) -> None:
    submit(repository)
    claim = repository.jobs.claim("one", CPU)
    assert claim is not None
    asked: Callable[[], bool] = lambda: True  # noqa: E731
    stages = JobStages(repository.jobs, claim, asked)
    with pytest.raises(Stopped), stages.stage("search"):
        pytest.fail("the stage began")
    assert repository.jobs.get(claim.job.job_id).progress == JobProgress()


def test_a_device_is_called_by_its_kind_and_apart_from_those_of_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    monkeypatch.setattr("torch.cuda.get_device_name", lambda index: f"GPU {index}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert place_of("cpu") == Place("cpu", "here/cpu")
    assert place_of("cpu", "big") == Place("big", "here/cpu")
    assert place_of("cuda") == Place("GPU 0", "here/cuda:0")
    assert place_of("cuda:1") == Place("GPU 1", "here/cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert place_of("cuda:1") == Place("GPU 1", "here/cuda:5")
