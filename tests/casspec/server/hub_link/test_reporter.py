"""A server tells what it saw, and sends requests only where they are wanted and shared."""

from __future__ import annotations

from typing import Any

import pytest

from casspec.runtime.watch.drift import Drift
from casspec.server.hub_link.reporter import Reporter
from casspec.server.watching.watches import Seen
from casspec.storage.errors import HubUnreachable
from tests.storage.reports.reported import DRIFT, summary

SEEN = Seen(summary("0" * 12), (Drift("acceptance", "int4", "greedy", 0.81, 0.95),))


class Hub:
    """Stands in for a client."""

    def __init__(self, wants: bool) -> None:
        self.wants, self.heard = wants, list[tuple[Any, ...]]()

    def report(self, *told: Any) -> bool:
        self.heard.append(told)
        return self.wants


def reporter(hub: Any, seen: Seen | None = SEEN, traffic: Any = None) -> Reporter:
    return Reporter(hub, "a:8000", "production", lambda: seen, traffic)


def test_what_was_seen_is_told_by_name_and_alias() -> None:
    hub = Hub(wants=False)
    reporter(hub, traffic=lambda: "lines").report()
    assert hub.heard == [("a:8000", SEEN.summary, [DRIFT], "production")]


def test_before_anything_was_seen_nothing_is_told() -> None:
    hub = Hub(wants=True)
    reporter(hub, None).report()
    assert hub.heard == []


def test_requests_follow_where_they_are_wanted_shared_and_enough() -> None:
    plain = ("a:8000", SEEN.summary, [DRIFT], "production")
    for traffic, more in ((None, []), (lambda: None, []), (lambda: "lines", [(*plain, "lines")])):
        hub = Hub(wants=True)
        reporter(hub, traffic=traffic).report()
        assert hub.heard == [plain, *more]


def test_a_hub_that_is_away_is_an_error() -> None:
    class Away:
        def report(self, *told: Any) -> bool:
            raise HubUnreachable("away")

    with pytest.raises(HubUnreachable):
        reporter(Away()).report()
