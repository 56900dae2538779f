"""A server from its first request to its last: it listens while its model loads, and ends when what is under way has ended."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from casspec.server.service import Service
from casspec.storage.errors import UnsupportedOption

GRACE_S = 2
"""What answers get to leave in, once their texts are over."""


class DrainingServer(uvicorn.Server):
    """The first SIGTERM or Ctrl-C takes no more requests and lets those under way end; the second ends them.

    Args:
        say: tells the operator. on_hangup: called on the event loop at a SIGHUP.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        say: Callable[[str], None],
        on_hangup: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(config)
        self._service, self._say, self._on_hangup = service, say, on_hangup
        self._asked = False
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        if self._on_hangup is not None and threading.current_thread() is threading.main_thread():
            self._loop.add_signal_handler(signal.SIGHUP, self._on_hangup)
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._asked:
            self.should_exit = self.force_exit = True
            return
        self._asked = True
        self._loop.call_soon_threadsafe(self._drain_soon)

    def _drain_soon(self) -> None:
        self._draining = self._loop.create_task(self.drain())

    async def drain(self) -> None:
        """Ends the server once texts under way are over, or cut after the seconds set for that."""
        seconds, n_open = self._service.settings.drain_seconds, self._service.admission.n_open
        if n_open:
            self._say(f"draining: {n_open} texts are under way and get {seconds:g} s; again to end them now")
        if not await self._service.drained(seconds):
            self._say(f"{self._service.admission.n_open} texts are cut: their {seconds:g} s are over")
            self._service.cut()
        self.should_exit = True


def run(
    service: Service,
    app: FastAPI,
    place: socket.socket,
    say: Callable[[str], None],
    on_hangup: Callable[[], None] | None = None,
) -> None:
    """Serves on a socket that listens, until a signal ends it.

    Args:
        say, on_hangup: of `DrainingServer`.

    Raises what loading failed with.
    """
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=GRACE_S, server_header=False
    )
    server = DrainingServer(config, service, say, on_hangup)

    def loaded() -> None:
        if service.failure is not None:
            server.should_exit = True

    service.when_loaded(loaded)
    server.run(sockets=[place])
    if service.failure is not None:
        raise service.failure


def listening(host: str, port: int) -> socket.socket:
    """A socket for a server. Raises UnsupportedOption for an address that cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        place = socket.socket(family, socket.SOCK_STREAM)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind(address)
            place.listen(2048)
        except OSError:
            place.close()
            raise
    except OSError as error:
        why = error.strerror or str(error)
        raise UnsupportedOption(f"--host {host} --port {port} cannot be listened at: {why}; choose another") from error
    return place


def url_of(place: socket.socket) -> str:
    host, port = place.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
