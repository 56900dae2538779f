"""A server that is asked to end lets its texts end first, and cuts those that take too long."""

from __future__ import annotations

import signal
import threading
from typing import Any

import httpx2 as httpx
import openai
import pytest
import uvicorn

from casspec.server.app import create_app
from casspec.server.engines import Engines
from casspec.server.run import listening, run, url_of
from casspec.server.service import Service
from casspec.server.settings import Settings
from casspec.storage.errors import UnknownModel, UnsupportedOption
from tests.casspec.server.serving import alone, methods_of, with_settings

LONG: dict[str, Any] = {"model": "tiny", "prompt": [5, 9, 300], "max_tokens": 450, "extra_body": {"ignore_eos": True}}


class Running:
    """`run` in a thread, and the signals it would get."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.service = Service(settings, lambda: Engines(methods_of(settings), settings))
        self._ready = threading.Event()
        self.service.when_loaded(self._ready.set)
        self.servers: list[Any] = []
        begin = uvicorn.Server.__init__

        def noted(server: Any, config: Any) -> None:
            self.servers.append(server)
            begin(server, config)

        monkeypatch.setattr(uvicorn.Server, "__init__", noted)
        self._place = listening("127.0.0.1", 0)
        self.url = url_of(self._place)
        app = create_app(self.service)
        self.thread = threading.Thread(target=run, args=(self.service, app, self._place, self.said.append), daemon=True)
        self.thread.start()
        assert self._ready.wait(60)
        self.client = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def signal(self) -> None:
        self.servers[0].handle_exit(signal.SIGTERM, None)

    def ended(self) -> None:
        self.thread.join(30)
        assert not self.thread.is_alive()
        self._place.close()


def test_texts_under_way_end_before_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(with_settings(drain_seconds=60), monkeypatch)
    stream = running.client.completions.create(**LONG, stream=True)
    text = next(iter(stream)).choices[0].text
    running.signal()
    while running.service.state != "draining":
        pass
    assert httpx.get(f"{running.url}/ready").json() == {"status": "draining"}
    with pytest.raises(openai.APIStatusError, match="draining"):
        running.client.completions.create(**LONG)
    text += "".join(chunk.choices[0].text for chunk in stream)
    assert text == alone([5, 9, 300], max_new_tokens=450, ignore_eos=True).text
    running.ended()
    assert "draining: 1 texts are under way" in running.said[0]


def test_a_text_that_takes_too_long_is_cut_and_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(with_settings(drain_seconds=0), monkeypatch)
    stream = running.client.completions.create(**LONG, stream=True)
    next(iter(stream))
    running.signal()
    with pytest.raises(openai.APIError, match="the server ends"):
        list(stream)
    running.ended()
    assert "1 texts are cut" in running.said[1]


def test_a_second_signal_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(with_settings(drain_seconds=600), monkeypatch)
    stream = running.client.completions.create(**LONG, stream=True)
    next(iter(stream))
    running.signal()
    running.signal()
    running.ended()


def test_an_idle_server_ends_at_once_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    running = Running(with_settings(), monkeypatch)
    running.signal()
    running.ended()
    assert running.said == []


def test_a_model_that_cannot_be_loaded_ends_it() -> None:
    def load() -> Engines:
        raise UnknownModel("nothing there")

    service = Service(with_settings(), load)
    with listening("127.0.0.1", 0) as place, pytest.raises(UnknownModel, match="nothing there"):
        run(service, create_app(service), place, lambda line: None)


def test_an_address_that_is_taken_is_refused_in_a_line() -> None:
    with listening("127.0.0.1", 0) as place, pytest.raises(UnsupportedOption, match="choose another"):
        listening("127.0.0.1", place.getsockname()[1])
    with pytest.raises(UnsupportedOption, match="choose another"):
        listening("no-such-host.invalid", 1)


def test_an_address_is_told_as_clients_write_it() -> None:
    with listening("127.0.0.1", 0) as place:
        assert url_of(place) == f"http://127.0.0.1:{place.getsockname()[1]}"
