"""Hubs as tests ask them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi.testclient import TestClient

from casspec.hub.app import create_app
from casspec.hub.settings import HubSettings
from casspec.server.run import listening, url_of
from casspec.storage.repository import Repository

ASKED = {"model": "reference", "device": "cpu", "quick": True}


def client_of(repository: Repository, **settings: Any) -> TestClient:
    app = create_app(repository, HubSettings(**{"poll_s": 0.01, **settings}))
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


@contextmanager
def serving(repository: Repository, **settings: Any) -> Iterator[str]:
    """The URL of a hub that answers inside the block."""
    app = create_app(repository, HubSettings(**{"poll_s": 0.01, **settings}))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
    with listening("127.0.0.1", 0) as place:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
        thread.start()
        try:
            yield url_of(place)
        finally:
            server.should_exit = True
            thread.join(30)
