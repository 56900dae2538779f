"""The policy says each decision once, waits as long as it was told to, and outlives a store that is away."""

from __future__ import annotations

import threading

import pytest

from casspec.storage.errors import StorageError
from casspec.storage.repository import Repository
from tests.casspec.hub.reports.drifting import Fleet, finding, made_by_a_job, worked


def test_every_decision_is_one_line(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile)
    fleet.tell()
    for _ in range(3):
        assert fleet.tick() is None
    fleet.queued()
    worked(repository, finding(1.25))
    for _ in range(3):
        fleet.tick()
    (one,) = repository.recalibrations.listed()
    named = f"re-calibration {one.recalibration_id} of profile {fleet.profile.profile_id}, 'production'"
    assert [line.split(": ")[0] for line in fleet.said] == [
        f"drift of profile {fleet.profile.profile_id}",
        *[named] * 3,
    ]
    assert [line.split(": ")[1] for line in fleet.said[1:]] == ["wanted", "queued", "promoted"]
    assert [decision.says for decision in one.decisions] == [line.split(": ", 2)[2] for line in fleet.said[1:]]


def test_the_next_one_waits(fleet: Fleet, repository: Repository) -> None:
    made_by_a_job(repository, fleet.profile)
    first = fleet.queued()
    worked(repository, finding(0.9))
    fleet.tick()
    for _ in range(3):
        fleet.tell()
    waiting = fleet.tick()
    assert waiting is not None
    assert waiting.recalibration_id == first.recalibration_id
    assert "this model was calibrated again on this device" in fleet.said[-1]
    fleet.clock.seconds += 1000.0
    again = fleet.tick()
    assert again is not None
    assert (again.state, again.recalibration_id == first.recalibration_id) == ("wanted", False)


def test_reports_from_before_a_calibration_ended_do_not_count_for_the_next(
    fleet: Fleet, repository: Repository
) -> None:
    made_by_a_job(repository, fleet.profile)
    fleet.queued()
    worked(repository, finding(0.9))
    fleet.tick()
    fleet.clock.seconds += 2000.0
    ended = fleet.tick()
    assert ended is not None
    assert not ended.is_open


def test_a_store_that_is_away_is_one_line_and_the_policy_goes_on(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    ticked = threading.Semaphore(0)

    def away() -> None:
        ticked.release()
        raise StorageError("the store\nis away")

    monkeypatch.setattr(fleet.policy, "tick", away)
    with fleet.policy.running(every_s=0.001):
        for _ in range(3):
            assert ticked.acquire(timeout=30)
    assert fleet.said == ["drift is not looked at: the store is away"]
