from __future__ import annotations

from collections.abc import Callable

import pytest

from casspec.hub.fleet.documents import Outcome
from casspec.hub.fleet.placer import PAUSE_S, Devices, Ended, Placer
from casspec.storage.jobs.documents import JobRequest
from casspec.storage.jobs.queue import Place
from casspec.storage.repository import Repository
from tests.casspec.hub.fleet.fakes import HOST, FakeClock, FakeCluster


def submit(repository: Repository, kind: str = "cpu") -> str:
    return repository.jobs.submit(JobRequest(model="reference", device=kind)).job_id


def placer_of(
    repository: Repository,
    cluster: FakeCluster,
    say: Callable[[str], None] = lambda line: None,
    clock: Callable[[], float] = lambda: 0.0,
) -> Placer:
    return Placer(repository.jobs, cluster, HOST, say, clock)


def test_as_many_jobs_are_placed_as_there_are_devices_the_first_submitted_first(repository: Repository) -> None:
    cluster = FakeCluster({"cpu": Devices(2, False), "H200": Devices(1, True)})
    jobs = [submit(repository) for _ in range(3)]
    gpu = submit(repository, "H200")
    placer = placer_of(repository, cluster)
    for _ in range(3):
        placer.step()
    placed = [(each.job_id, each.device) for each in cluster.placed.values()]
    assert placed == [(jobs[0], "cpu"), (jobs[1], "cpu"), (gpu, "cuda")]


def test_a_device_that_is_free_again_gets_the_next_job(repository: Repository) -> None:
    cluster, told = FakeCluster(), list[str]()
    first, second = submit(repository), submit(repository)
    placer = placer_of(repository, cluster, told.append)
    placer.step()
    claim = repository.jobs.claim("worker", Place("cpu", "here"), only=first)
    assert claim is not None
    repository.jobs.fail(claim, "broken")
    cluster.end(0, Outcome(status="failed", message="broken"))
    placer.step()
    assert [each.job_id for each in cluster.placed.values()] == [first, second]
    assert f"job {first}: failed: broken" in told


@pytest.mark.parametrize(
    "ended", [Ended(0, Outcome().canonical_json()), Ended(0, error="NodeDiedError: gone")], ids=["idle", "lost"]
)
def test_a_job_whose_placement_did_not_run_it_is_placed_again_after_a_pause(
    repository: Repository, ended: Ended
) -> None:
    cluster, clock = FakeCluster(), FakeClock()
    job_id = submit(repository)
    placer = placer_of(repository, cluster, clock=clock)
    placer.step()
    cluster.over.append(ended)
    placer.step()
    assert len(cluster.placed) == 1
    clock.seconds += PAUSE_S
    placer.step()
    assert [each.job_id for each in cluster.placed.values()] == [job_id, job_id]


def test_a_job_that_a_living_worker_holds_is_not_placed(repository: Repository) -> None:
    cluster = FakeCluster()
    submit(repository)
    assert repository.jobs.claim("elsewhere:1:worker", Place("cpu", "there")) is not None
    placer_of(repository, cluster).step()
    assert cluster.placed == {}


def test_jobs_for_a_device_that_nobody_has_are_told_of_once(repository: Repository) -> None:
    cluster, told = FakeCluster(), list[str]()
    submit(repository, "H200")
    placer = placer_of(repository, cluster, told.append)
    for _ in range(3):
        placer.step()
    assert len(told) == 1
    assert "'H200'" in told[0]
    cluster.kinds["H200"] = Devices(1, True)
    placer.step()
    assert len(cluster.placed) == 1


def test_whoever_ends_has_placed_jobs_handed_back(repository: Repository) -> None:
    cluster = FakeCluster()
    submit(repository)
    placer = placer_of(repository, cluster)
    placer.step()
    placer.end()
    assert cluster.interrupted == [0]
