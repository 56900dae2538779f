"""When a profile that drifts is to be calibrated again."""

from __future__ import annotations

import pytest

from casspec.hub.reports.considered import Considered, considered, in_a_row, moment
from casspec.storage.repository import Repository
from tests.casspec.hub.reports.drifting import SETTINGS, Fleet, calibrated
from tests.storage.reports.reported import BEGIN, at, report


def looked_at(fleet: Fleet, seconds: float = 1.0) -> list[Considered]:
    return considered(fleet.repository, SETTINGS, fleet.clock() + seconds)


def test_enough_reports_in_a_row_are_due(fleet: Fleet) -> None:
    assert looked_at(fleet) == []
    fleet.tell()
    (one,) = looked_at(fleet)
    assert (one.is_due, one.says) == (False, "1 of 2 reports say drift")
    fleet.tell(server="b:8000")
    (one,) = looked_at(fleet)
    assert (one.profile, one.alias, one.is_due) == (fleet.profile, "production", True)
    assert one.says == (
        "2 reports say drift, the newest from b:8000: acceptance of int4 .81, calibrated .95 in greedy decoding"
    )


def test_a_report_that_the_profile_fits_again_takes_back_the_earlier_ones_of_its_server() -> None:
    profile_hash = "a" * 64
    drift, other = report(profile_hash, drifts=True), report(profile_hash, drifts=True, server="b")
    fits = report(profile_hash)
    assert in_a_row([drift, fits, drift, other]) == [drift, other]
    assert in_a_row([fits, drift]) == []


def test_old_reports_say_nothing(fleet: Fleet) -> None:
    for _ in range(3):
        fleet.tell()
    assert looked_at(fleet, 90_000.0) == []


@pytest.mark.parametrize("alias", [None, "candidate"])
def test_a_profile_that_no_alias_leads_to_is_left_alone(fleet: Fleet, alias: str | None) -> None:
    for _ in range(3):
        fleet.tell(alias=alias)
    (one,) = looked_at(fleet)
    assert not one.is_due
    assert "hub://HOST/production" in one.says


def test_a_profile_that_another_one_followed_is_left_alone(fleet: Fleet, repository: Repository) -> None:
    for _ in range(3):
        fleet.tell()
    calibrated(repository, "production", seed=5)
    (one,) = looked_at(fleet)
    assert (one.is_due, one.says.partition(":")[0]) == (False, "another profile is 'production' by now")


def test_one_that_was_deleted_is_passed_over(fleet: Fleet, repository: Repository) -> None:
    fleet.tell()
    repository.delete_profile(fleet.profile.profile_id)
    assert looked_at(fleet) == []


def test_moments_sort_as_the_store_writes_them() -> None:
    assert moment(BEGIN.timestamp() + 1.5) == at(1.5)
