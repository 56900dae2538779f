from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from casspec.hub.fleet.placing import FIRST_WAIT_S, POLL_S, place_jobs
from casspec.storage.errors import FleetError, StorageError
from casspec.storage.jobs.documents import JobRequest
from casspec.storage.jobs.queue import JobQueue
from casspec.storage.repository import Repository
from tests.casspec.hub.fleet.fakes import HOST, FakeCluster


class Script:
    """Connections that a test describes, and waits that end the placing after some."""

    def __init__(self, clusters: list[FakeCluster | None], n_waits: int) -> None:
        self.clusters, self.n_waits = clusters, n_waits
        self.waits: list[float] = []
        self.told: list[str] = []

    @contextmanager
    def connected(self) -> Iterator[FakeCluster]:
        cluster = self.clusters.pop(0)
        if cluster is None:
            raise FleetError("Ray at here cannot be reached")
        yield cluster

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) >= self.n_waits

    def run(self, repository: Repository) -> None:
        place_jobs(repository, self.connected, HOST, self.told.append, self.wait)


def test_a_cluster_that_is_away_is_tried_again_later_and_later(repository: Repository) -> None:
    repository.jobs.submit(JobRequest(model="reference", device="cpu"))
    there = FakeCluster()
    script = Script([None, None, None, there], 5)
    script.run(repository)
    assert script.waits == [FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S, POLL_S, POLL_S]
    assert script.told[0] == f"Ray at here cannot be reached; tried again in {FIRST_WAIT_S:g} s"
    assert len(there.placed) == 1


def test_a_cluster_that_is_lost_is_connected_to_again_and_jobs_are_placed_anew(repository: Repository) -> None:
    job_id = repository.jobs.submit(JobRequest(model="reference", device="cpu")).job_id
    first, second = FakeCluster(is_away=True), FakeCluster()
    script = Script([first, second], 2)
    script.run(repository)
    assert [each.job_id for each in second.placed.values()] == [job_id]
    assert script.told[0].startswith("Ray is away")


def test_a_store_that_is_away_is_told_of_once_and_asked_again(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [StorageError("cannot be reached")] * 3

    def waiting(self: JobQueue) -> list[tuple[str, str]]:
        if answers:
            raise answers.pop()
        return []

    monkeypatch.setattr(JobQueue, "waiting", waiting)
    script = Script([FakeCluster()], 5)
    script.run(repository)
    assert script.told == ["cannot be reached"]
    assert script.waits == [POLL_S] * 5


def test_an_interrupt_hands_back_what_was_placed(repository: Repository) -> None:
    repository.jobs.submit(JobRequest(model="reference", device="cpu"))
    cluster = FakeCluster()
    script = Script([cluster], 5)

    def interrupted(seconds: float) -> bool:
        raise KeyboardInterrupt

    script.wait = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        script.run(repository)
    assert cluster.interrupted == [0]
