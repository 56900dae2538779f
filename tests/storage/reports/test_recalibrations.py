"""Re-calibrations: two hubs begin one, and a step that another took is not taken."""

from __future__ import annotations

import pytest

from casspec.storage.database.connection import Database
from casspec.storage.reports.documents import Decision, Recalibration
from casspec.storage.reports.recalibrations import Recalibrations
from tests.storage import samples
from tests.storage.reports.reported import at

PROFILE = samples.profile()


@pytest.fixture
def recalibrations(database: Database) -> Recalibrations:
    return Recalibrations(database)


def begun(recalibrations: Recalibrations, seconds: float = 0.0) -> Recalibration:
    one = recalibrations.begin(PROFILE, "production", at(seconds), "drift")
    assert one is not None
    return one


def ended(one: Recalibration, seconds: float) -> Recalibration:
    decisions = (*one.decisions, Decision(at=at(seconds), says="kept"))
    return one.model_copy(update={"state": "kept", "ended_at": at(seconds), "decisions": decisions})


def test_one_begins_waits_and_ends(recalibrations: Recalibrations) -> None:
    one = begun(recalibrations)
    assert (one.state, one.profile_hash, len(one.recalibration_id)) == ("wanted", PROFILE.content_hash(), 16)
    assert recalibrations.open() == [one]
    assert recalibrations.last(PROFILE) == one
    assert recalibrations.change(one, ended(one, 5))
    assert recalibrations.open() == []
    assert recalibrations.last(PROFILE) == ended(one, 5)
    again = begun(recalibrations, 10)
    assert recalibrations.listed() == [again, ended(one, 5)]
    assert recalibrations.listed("0" * 64) == []


def test_hubs_that_decide_at_once_begin_one(recalibrations: Recalibrations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recalibrations, "last", lambda self, profile: None)
    one = begun(recalibrations)
    assert recalibrations.begin(PROFILE, "production", at(1), "drift too") is None
    assert recalibrations.open() == [one]


def test_none_begins_while_one_of_the_model_and_device_is_under_way(recalibrations: Recalibrations) -> None:
    one = begun(recalibrations)
    assert recalibrations.begin(PROFILE, "canary", at(1), "drift too") is None
    assert recalibrations.change(one, ended(one, 5))
    assert recalibrations.begin(PROFILE, "canary", at(6), "drift again") is not None


def test_a_step_that_another_hub_took_is_not_taken(recalibrations: Recalibrations) -> None:
    one = begun(recalibrations)
    assert recalibrations.change(one, ended(one, 5))
    assert not recalibrations.change(one, ended(one, 6))
    assert recalibrations.last(PROFILE) == ended(one, 5)
    assert not recalibrations.change(one.model_copy(update={"recalibration_id": "0" * 16}), one)


def test_the_last_one_is_of_the_model_and_device(recalibrations: Recalibrations) -> None:
    one = begun(recalibrations)
    assert recalibrations.last(samples.profile(seed=99)) == one
    other = samples.profile(device=samples.device(name="another"))
    assert recalibrations.last(other) is None
