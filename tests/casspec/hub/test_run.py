from __future__ import annotations

import threading
import urllib.request

import uvicorn

from casspec.hub.app import create_app
from casspec.hub.run import run
from casspec.hub.settings import HubSettings
from casspec.server.run import listening, url_of
from casspec.storage.repository import Repository


def test_a_hub_answers_until_it_is_ended(repository: Repository, monkeypatch) -> None:
    servers = list[uvicorn.Server]()
    make = uvicorn.Server.__init__

    def made(self: uvicorn.Server, config: uvicorn.Config) -> None:
        make(self, config)
        servers.append(self)

    monkeypatch.setattr(uvicorn.Server, "__init__", made)
    with listening("127.0.0.1", 0) as place:
        thread = threading.Thread(target=run, args=(create_app(repository, HubSettings()), place))
        thread.start()
        with urllib.request.urlopen(f"{url_of(place)}/health", timeout=60) as answer:
            assert answer.status == 200
        servers[0].should_exit = True
        thread.join(60)
    assert not thread.is_alive()
