"""Tells a hub what a server saw of its profile."""

from __future__ import annotations

from collections.abc import Callable

from casspec.hub.client import HubClient
from casspec.runtime.watch.drift import Drift
from casspec.server.watching.watches import Seen
from casspec.storage.reports.documents import ReportedDrift

MOST_DRIFTS = 256


class Reporter:
    """Of one server.

    Args:
        server, alias: of `HubClient.report`. seen: of the profile in use; None before there is something to tell.
        traffic: recorded requests, None while they are too few; left out where the operator shares none.
    """

    def __init__(
        self,
        client: HubClient,
        server: str,
        alias: str | None,
        seen: Callable[[], Seen | None],
        traffic: Callable[[], str | None] | None = None,
    ) -> None:
        self._client, self._server, self._alias = client, server, alias
        self._seen, self._traffic = seen, traffic

    def report(self) -> None:
        """Sends what there is, and requests where the hub would take some. Raises HubError, and StorageError for the requests' file."""
        seen = self._seen()
        if seen is None:
            return
        drifts = [_reported(drift) for drift in seen.drifts[:MOST_DRIFTS]]
        wants = self._client.report(self._server, seen.summary, drifts, self._alias)
        lines = self._traffic() if wants and self._traffic is not None else None
        if lines is not None:
            self._client.report(self._server, seen.summary, drifts, self._alias, lines)


def _reported(drift: Drift) -> ReportedDrift:
    return ReportedDrift(
        kind=drift.kind,
        subject=drift.subject[:256],
        mode=drift.mode,
        now=drift.now,
        calibrated=drift.calibrated,
    )
