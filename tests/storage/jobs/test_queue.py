"""The queue: one worker a job, one job a device, nothing lost and nothing twice, whoever dies."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.storage.database.connection import Database, open_database
from casspec.storage.errors import JobNotFound, LeaseLost, QueueFull
from casspec.storage.jobs.documents import Job, JobProgress, JobRequest
from casspec.storage.jobs.queue import EXPIRY_S, MOST_ATTEMPTS, Claim, JobQueue, Place

CPU, OTHER = Place("cpu", "here:cpu"), Place("cpu", "there:cpu")
PROFILE = "a" * 64


@dataclass
class FakeClock:
    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def queue(database: Database, clock: FakeClock) -> JobQueue:
    return JobQueue(database, clock)


def submit(queue: JobQueue, device: str = "cpu", **asked: object) -> Job:
    return queue.submit(JobRequest.model_validate({"model": "reference", "device": device, **asked}))


def claimed(queue: JobQueue, worker: str = "one", place: Place = CPU) -> Claim:
    claim = queue.claim(worker, place)
    assert claim is not None
    return claim


def test_no_more_jobs_wait_than_may(queue: JobQueue) -> None:
    asked = JobRequest(model="reference", device="cpu")
    first = queue.submit(asked, "0" * 16, max_queued=2)
    queue.submit(asked, max_queued=2)
    for refused in (lambda: queue.submit(asked, max_queued=2), lambda: queue.check_room(2)):
        with pytest.raises(QueueFull, match="2 jobs wait"):
            refused()
    assert queue.submit(asked, "0" * 16, max_queued=2) == first
    queue.check_room(2, "0" * 16)
    claimed(queue)
    queue.check_room(2)
    queue.submit(asked, max_queued=2)


def test_a_job_goes_from_queued_to_done(queue: JobQueue) -> None:
    job = submit(queue, quick=True)
    assert (job.status, job.attempts, job.progress) == ("queued", 0, JobProgress())
    claim = claimed(queue)
    assert (claim.job.status, claim.job.worker, claim.job.attempts) == ("running", "one", 1)
    assert claim.job.request == job.request
    told = JobProgress(stage="search", done=3, total=9, note="plan", estimate_s=60.0)
    queue.tell(claim, told)
    assert queue.get(job.job_id).progress == told
    done = queue.finish(claim, PROFILE)
    assert (done.status, done.profile_hash, done.message) == ("done", PROFILE, None)
    assert done.started_at is not None
    assert done.ended_at is not None
    assert queue.get(job.job_id) == done
    assert queue.claim("one", CPU) is None


def test_the_latest_job_that_made_a_profile_is_found(queue: JobQueue) -> None:
    assert queue.maker_of(PROFILE) is None
    for quick in (False, True):
        submit(queue, quick=quick)
        queue.finish(claimed(queue), PROFILE)
    submit(queue)
    made = queue.maker_of(PROFILE)
    assert made is not None
    assert made.request.quick


def test_the_oldest_of_a_kind_of_device_is_first(queue: JobQueue) -> None:
    first, second, elsewhere = submit(queue), submit(queue), submit(queue, device="H200")
    assert claimed(queue).job.job_id == first.job_id
    assert claimed(queue, "two", OTHER).job.job_id == second.job_id
    assert claimed(queue, "three", Place("H200", "far:cuda:0")).job.job_id == elsewhere.job_id


def test_a_device_runs_one_job_and_a_job_has_one_worker(queue: JobQueue) -> None:
    submit(queue)
    submit(queue)
    first = claimed(queue)
    assert queue.claim("two", CPU) is None
    assert claimed(queue, "two", OTHER).job.job_id != first.job.job_id
    assert queue.claim("three", Place("cpu", "third:cpu")) is None
    queue.finish(first, PROFILE)
    assert queue.claim("four", CPU) is None


def test_a_silent_worker_loses_job_and_device_and_can_write_nothing(queue: JobQueue, clock: FakeClock) -> None:
    job = submit(queue)
    lost = claimed(queue)
    clock.seconds += EXPIRY_S + 1
    heir = claimed(queue, "two")
    assert (heir.job.job_id, heir.job.attempts, heir.job.worker) == (job.job_id, 2, "two")
    before = queue.get(job.job_id)
    for write in (
        lambda: queue.renew(lost),
        lambda: queue.tell(lost, JobProgress(stage="late")),
        lambda: queue.finish(lost, PROFILE),
        lambda: queue.fail(lost, "late"),
        lambda: queue.cancel(lost),
        lambda: queue.hand_back(lost),
    ):
        with pytest.raises(LeaseLost):
            write()
    queue.leave(lost)
    assert queue.get(job.job_id) == before
    assert queue.renew(heir).status == "running"
    assert queue.claim("three", CPU) is None


def test_a_beating_heart_keeps_both(queue: JobQueue, clock: FakeClock) -> None:
    submit(queue)
    submit(queue)
    claim = claimed(queue)
    for _ in range(3):
        clock.seconds += EXPIRY_S - 1
        assert queue.renew(claim).status == "running"
        assert queue.claim("two", CPU) is None


def test_a_worker_known_to_be_dead_is_followed_at_once(queue: JobQueue) -> None:
    job = submit(queue)
    claimed(queue, "dead")
    heir = queue.claim("two", CPU, is_dead=lambda owner: owner == "dead")
    assert heir is not None
    assert heir.job.job_id == job.job_id


def test_a_queued_job_is_cancelled_at_once_and_a_running_one_when_its_worker_hears(queue: JobQueue) -> None:
    running, waiting = submit(queue), submit(queue)
    claim = claimed(queue)
    assert queue.ask_to_cancel(waiting.job_id).status == "cancelled"
    assert queue.ask_to_cancel(running.job_id).status == "running"
    assert queue.renew(claim).cancel_asked
    assert queue.cancel(claim).status == "cancelled"
    assert queue.ask_to_cancel(running.job_id).status == "cancelled"
    assert queue.claim("two", CPU) is None


def test_a_job_whose_worker_died_before_it_heard_is_cancelled_all_the_same(queue: JobQueue, clock: FakeClock) -> None:
    job = submit(queue)
    claimed(queue)
    queue.ask_to_cancel(job.job_id)
    clock.seconds += EXPIRY_S + 1
    assert queue.claim("two", CPU) is None
    assert queue.get(job.job_id).status == "cancelled"


def test_a_job_that_ended_a_job_is_not_ended_again(queue: JobQueue) -> None:
    job = submit(queue)
    queue.fail(claimed(queue), "first line\nsecond")
    assert queue.ask_to_cancel(job.job_id).status == "failed"
    assert queue.get(job.job_id).message == "first line second"


def test_what_is_handed_back_keeps_its_place_and_its_attempts(queue: JobQueue) -> None:
    first, _ = submit(queue), submit(queue)
    queue.hand_back(claimed(queue))
    again = claimed(queue)
    assert (again.job.job_id, again.job.attempts) == (first.job_id, 1)
    assert queue.hand_back(again, counts=True).attempts == 1
    queue.ask_to_cancel(first.job_id)
    assert claimed(queue).job.job_id != first.job_id


def test_a_job_that_is_handed_back_after_it_was_to_be_cancelled_ends(queue: JobQueue) -> None:
    job, claim = submit(queue), claimed(queue)
    queue.ask_to_cancel(job.job_id)
    assert queue.hand_back(claim).status == "cancelled"


def test_a_job_that_ends_every_worker_fails(queue: JobQueue, clock: FakeClock) -> None:
    job = submit(queue)
    for n in range(MOST_ATTEMPTS):
        claimed(queue, f"worker {n}")
        clock.seconds += EXPIRY_S + 1
    assert queue.claim("last", CPU) is None
    failed = queue.get(job.job_id)
    assert failed.status == "failed"
    assert f"ended {MOST_ATTEMPTS} workers" in str(failed.message)


def test_submitting_the_same_id_again_changes_nothing(queue: JobQueue) -> None:
    request = JobRequest(model="reference", device="cpu")
    job = queue.submit(request, "0" * 16)
    claim = claimed(queue)
    assert queue.submit(request, "0" * 16) == queue.get(job.job_id) == claim.job


def test_lists_are_by_status_and_device_and_go_on_where_they_ended(queue: JobQueue) -> None:
    jobs = [submit(queue) for _ in range(5)]
    other = submit(queue, device="H200")
    queue.finish(claimed(queue), PROFILE)
    newest = [job.job_id for job in reversed([*jobs, other])]
    assert [job.job_id for job in queue.listed()] == newest
    assert [job.job_id for job in queue.listed(limit=2, before=newest[1])] == newest[2:4]
    assert [job.job_id for job in queue.listed("done")] == [jobs[0].job_id]
    assert [job.job_id for job in queue.listed(device="H200")] == [other.job_id]


def test_a_job_that_is_not_there_is_told_in_one_line(queue: JobQueue) -> None:
    for ask in (queue.get, queue.ask_to_cancel, lambda job_id: queue.listed(before=job_id)):
        with pytest.raises(JobNotFound, match="no job 'nothing' here: `casspec job list`") as told:
            ask("nothing")
        assert "\n" not in str(told.value)


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["submit", "claim", "renew", "tell", "finish", "fail", "hand back", "ask to cancel", "wait"]),
        st.integers(0, 3),
    ),
    max_size=60,
)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("empty") / "casspec.db"
    open_database(str(file)).close()
    return file


@given(actions=ACTIONS)
@settings(max_examples=60)
def test_nothing_runs_twice_at_once_and_nothing_is_lost_whatever_happens(
    actions: list[tuple[str, int]], empty: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Workers 0 to 3 on devices 0, 1, 0, 1 keep their claims for ever, as those do who come back from the dead."""
    file = shutil.copy(empty, tmp_path_factory.mktemp("queue") / "casspec.db")
    clock, database = FakeClock(), open_database(str(file))
    queue = JobQueue(database, clock)
    held: dict[int, Claim] = {}
    submitted: list[str] = []
    ended: dict[str, Job] = {}
    calls = {
        "renew": queue.renew,
        "tell": lambda claim: queue.tell(claim, JobProgress(stage="search")),
        "finish": lambda claim: queue.finish(claim, PROFILE),
        "fail": lambda claim: queue.fail(claim, "broken"),
        "hand back": queue.hand_back,
    }
    for action, n in actions:
        if action == "submit":
            submitted.append(submit(queue).job_id)
        elif action == "wait":
            clock.seconds += EXPIRY_S / 2
        elif action == "ask to cancel" and submitted:
            queue.ask_to_cancel(submitted[n % len(submitted)])
        elif action == "claim":
            claim = queue.claim(f"worker {n}", Place("cpu", f"device {n % 2}"))
            held |= {} if claim is None else {n: claim}
        elif n in held and action in calls:
            try:
                calls[action](held[n])
            except LeaseLost:
                del held[n]
        current = [claim for claim in held.values() if queue._leases.is_current(claim.lease)]
        assert len({claim.job.job_id for claim in current}) == len(current)
        on_devices = [claim.device.key for claim in current if queue._leases.is_current(claim.device)]
        assert len(set(on_devices)) == len(on_devices)
        found = {job_id: queue.get(job_id) for job_id in submitted}
        assert all(found[job_id] == job for job_id, job in ended.items()), "what has ended does not change"
        ended = {job_id: job for job_id, job in found.items() if job.has_ended}
    clock.seconds += EXPIRY_S + 1
    while (claim := queue.claim("last", Place("cpu", "device 0"))) is not None:
        queue.finish(claim, PROFILE)
    assert all(queue.get(job_id).has_ended for job_id in submitted)
    database.close()


def test_a_worker_may_ask_for_one_job_and_gets_no_other(queue: JobQueue) -> None:
    first, second = submit(queue).job_id, submit(queue).job_id
    claim = queue.claim("one", CPU, only=second)
    assert claim is not None
    assert claim.job.job_id == second
    assert queue.claim("other", OTHER, only=second) is None
    assert queue.claim("other", OTHER, only="0" * 16) is None
    assert queue.get(first).status == "queued"


def test_jobs_wait_whom_no_living_worker_holds(queue: JobQueue, clock: FakeClock) -> None:
    assert queue.waiting() == []
    held, queued, elsewhere = submit(queue).job_id, submit(queue).job_id, submit(queue, "H200").job_id
    claim = queue.claim("one", CPU)
    assert claim is not None
    assert queue.waiting() == [(queued, "cpu"), (elsewhere, "H200")]
    clock.seconds += EXPIRY_S + 1
    assert queue.waiting() == [(held, "cpu"), (queued, "cpu"), (elsewhere, "H200")]
    queue.ask_to_cancel(queued)
    assert [job_id for job_id, _ in queue.waiting()] == [held, elsewhere]


WORKER = """
import os, sys
from pathlib import Path
from casspec.storage import open_repository
from casspec.storage.holders import holder_name, is_dead
from casspec.storage.jobs.queue import Place
from casspec.storage.jobs.documents import JobProgress

storage, folder = sys.argv[1], Path(sys.argv[2])
with open_repository(storage) as repository:
    while True:
        print("looking", flush=True)
        claim = repository.jobs.claim(holder_name(), Place("cpu", "here:cpu"))
        if claim is None:
            if not any(not job.has_ended for job in repository.jobs.listed()):
                break
            continue
        runs = folder / f"{claim.job.job_id}.{claim.lease.fencing}"
        runs.write_text(str(os.getpid()))
        for step in range(4):
            repository.jobs.tell(claim, JobProgress(stage="search", done=step))
            with (folder / "steps").open("a") as steps:
                steps.write(f"{os.getpid()} {claim.job.job_id} {step}\\n")
            print(step, flush=True)
        repository.jobs.finish(claim, "a" * 64)
        (folder / f"{claim.job.job_id}.done.{claim.lease.fencing}").touch()
        print("finished", flush=True)
"""


def killed_after(n_lines: int, storage: str, folder: Path) -> bool:
    """Whether a worker ended by itself before it could be killed after so many lines."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, storage, str(folder)], stdout=subprocess.PIPE, text=True
    ) as worker:
        assert worker.stdout is not None
        for _ in range(n_lines):
            if not worker.stdout.readline():
                return worker.wait() == 0
        worker.kill()
    return False


def test_workers_killed_at_random_moments_lose_nothing(database: Database, storage: str, tmp_path: Path) -> None:
    chosen, folder = random.Random(5), tmp_path / "runs"
    folder.mkdir()
    queue = JobQueue(database)
    jobs = [submit(queue).job_id for _ in range(4)]
    kills = 0
    while kills < 6 and not killed_after(chosen.randint(2, 9), storage, folder):
        kills += 1
    assert killed_after(1000, storage, folder)
    assert [queue.get(job_id).status for job_id in jobs] == ["done"] * len(jobs)
    for job_id in jobs:
        assert len(list(folder.glob(f"{job_id}.done.*"))) <= 1
        workers = [line.split()[0] for line in (folder / "steps").read_text().splitlines() if job_id in line]
        changes = sum(one != other for one, other in pairwise(workers))
        assert changes == len(set(workers)) - 1, "a job that was taken over is left alone by who had it"


def test_jobs_are_counted_by_status(queue: JobQueue) -> None:
    assert queue.counts() == {}
    cancelled, *_ = (submit(queue) for _ in range(3))
    queue.ask_to_cancel(cancelled.job_id)
    assert queue.counts() == {"queued": 2, "cancelled": 1}
