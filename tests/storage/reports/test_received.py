"""Reports: the newest of each server and profile, and no more of the older ones than a bound."""

from __future__ import annotations

import pytest

from casspec.storage.database.connection import Database
from casspec.storage.reports import received
from casspec.storage.reports.received import Reports
from tests.storage.reports.reported import at, report

ONE, OTHER = "a" * 64, "b" * 64


@pytest.fixture
def reports(database: Database) -> Reports:
    return Reports(database)


def test_the_newest_of_each_server_and_profile_is_told(reports: Reports) -> None:
    for told in (report(ONE, 1), report(ONE, 2), report(OTHER, 3), report(ONE, 4, server="b:8000")):
        reports.add(told)
    assert reports.latest() == [report(ONE, 4, server="b:8000"), report(OTHER, 3), report(ONE, 2)]
    assert reports.latest(ONE, "a:8000") == [report(ONE, 2)]
    assert reports.latest(limit=1) == [report(ONE, 4, server="b:8000")]
    assert reports.history(ONE, "a:8000") == [report(ONE, 2), report(ONE, 1)]
    assert [len(reports.history(OTHER)), len(reports.history(server="c"))] == [1, 0]


def test_the_oldest_go_first(reports: Reports, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(received, "HISTORY", 3)
    monkeypatch.setattr(received, "MOST_KEPT", 5)
    for second in range(6):
        reports.add(report(ONE, second))
    assert reports.history() == [report(ONE, 5), report(ONE, 4), report(ONE, 3)]
    for second in range(6, 9):
        reports.add(report(OTHER, second))
    assert [told.received_at for told in reports.history()] == [at(second) for second in (8, 7, 6, 5, 4)]


def test_profiles_that_drift_and_requests_that_came_are_found_from_a_moment_on(reports: Reports) -> None:
    reports.add(report(ONE, 1, drifts=True))
    reports.add(report(OTHER, 2, suite_sha256="c" * 64))
    reports.add(report(OTHER, 3))
    assert (reports.drifting(at(0)), reports.drifting(at(2))) == ([ONE], [])
    assert reports.with_traffic(OTHER, at(2)) == report(OTHER, 2, suite_sha256="c" * 64)
    assert reports.with_traffic(OTHER, at(3)) is None
    assert reports.with_traffic(ONE, at(0)) is None


def test_the_same_moment_twice_is_one_report(reports: Reports) -> None:
    reports.add(report(ONE, 1))
    reports.add(report(ONE, 1, drifts=True))
    assert reports.history() == [report(ONE, 1, drifts=True)]
