"""A server's link to the hub that its profile comes from, beside its step thread and its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from casspec.hub.client import HubClient
from casspec.hub.fetched import HubWatch, alias_of
from casspec.server.hub_link.poller import Poller
from casspec.server.hub_link.repeating import Repeating
from casspec.server.hub_link.reporter import Reporter
from casspec.server.hub_link.traffic_sample import traffic_sample
from casspec.server.reload import Reloader
from casspec.server.service import Service
from casspec.server.watching.watches import Seen

TIMEOUT_S = 15.0
"""Of silence of the hub."""


@dataclass(frozen=True)
class LinkSettings:
    """Of one server.

    Attributes:
        url: of the profile, hub://HOST:PORT/ALIAS. server: its name in reports.
        report_s, poll_s: seconds between two times; 0 is never.
        traffic: the file whose requests are shared with the hub; None shares none.
    """

    url: str
    server: str
    report_s: float = 60.0
    poll_s: float = 60.0
    traffic: Path | None = None


class HubLink:
    """Reports and polls from when the model is loaded."""

    def __init__(self, service: Service, reloader: Reloader, settings: LinkSettings) -> None:
        self._service, self._reloader, self._settings = service, reloader, settings
        self._threads: list[Repeating] = []
        self._loop: asyncio.AbstractEventLoop
        self._watch: HubWatch | None = None
        service.when_loaded(self._start)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ends both behind the block."""
        try:
            yield
        finally:
            for thread in self._threads:
                thread.stop()

    def reporter(self) -> Reporter:
        """What reports."""
        settings, file = self._settings, self._settings.traffic
        client = HubClient(settings.url, timeout_s=TIMEOUT_S)
        share = None if file is None else lambda: traffic_sample(file)
        return Reporter(client, settings.server, alias_of(settings.url), self._seen, share)

    def poller(self) -> Poller:
        """What polls. For the thread of no event loop."""
        return Poller(self._newest, self._served, self._take)

    def _start(self) -> None:
        """On the event loop."""
        self._loop = asyncio.get_running_loop()
        if self._service.failure is not None:
            return
        settings = self._settings
        if settings.report_s > 0:
            self._threads.append(Repeating("reports to the hub", self.reporter().report, settings.report_s))
        if settings.poll_s > 0:
            self._threads.append(Repeating("polls of the hub", self.poller().poll, settings.poll_s))
        for thread in self._threads:
            thread.start()

    def _seen(self) -> Seen | None:
        return None if self._service.loaded is None else self._service.loaded.watches.seen()

    def _newest(self) -> str:
        if self._watch is None:
            self._watch = HubWatch(self._settings.url, self._service.engines.target, TIMEOUT_S)
        return self._watch.newest()

    def _served(self) -> str | None:
        return self._service.engines.methods.stored_id

    def _take(self) -> None:
        asyncio.run_coroutine_threadsafe(self._reloader.reload(), self._loop).result()
