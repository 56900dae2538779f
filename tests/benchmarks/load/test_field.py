"""Servers side by side: loaded, asked in turns, ended."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.load import field as module
from benchmarks.load.asked import Turn
from benchmarks.load.field import Field, names_in_order
from benchmarks.load.servers import Contender, Setup
from benchmarks.peers.engines import Engine
from benchmarks.peers.environments import Environment, PeerUnavailable

FAKE = Path(__file__).parent / "fake_server.py"
BODIES = tuple({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4} for _ in range(3))
TURNS = [Turn("greedy", 2, which, BODIES) for which in (0, 1, 2)]


def contender(name: str, model: str = "") -> Contender:
    return Contender(name, "casspec", "/ready", lambda python, port, setup: [str(python), str(FAKE), str(port), model])


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Field]:
    monkeypatch.setattr(module, "environment", lambda *_: Environment(Path(sys.executable)))
    return lambda: Field(tmp_path, tmp_path, Setup(tmp_path, 64, (0,)))


def test_every_round_asks_every_server_but_the_first_is_not_kept(make: Callable[[], Field]) -> None:
    chosen = [contender("a"), contender("b")]
    with make() as field:
        field.start(chosen)
        field.run(TURNS, random.Random(0))
    assert sorted((each.round, each.server) for each in field.measurements) == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert all(answer.failure is None for each in field.measurements for answer in each.drive.answers)
    assert names_in_order(chosen, field.measurements) == ["a", "b"]
    assert set(field.load_seconds) == {"a", "b"}


def test_a_server_that_cannot_load_is_named_and_the_others_go_on(make: Callable[[], Field]) -> None:
    with make() as field:
        field.start([contender("bad", "broken"), contender("good")])
        field.run(TURNS, random.Random(0))
    assert list(field.lost) == ["bad"]
    assert {each.server for each in field.measurements} == {"good"}


def test_a_server_that_dies_is_lost_from_then_on(make: Callable[[], Field]) -> None:
    with make() as field:
        field.start([contender("a"), contender("b")])
        field.run(TURNS[:2], random.Random(0))
        field.servers["a"].end()
        field.run(TURNS[2:], random.Random(0))
    assert "ended with code" in field.lost["a"]
    assert [each.server for each in field.measurements if each.round == 2] == ["b"]


def test_an_engine_that_cannot_be_installed_is_named(
    make: Callable[[], Field], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(engine: Engine, folder: Path, again: bool) -> Environment:
        raise PeerUnavailable("no wheel")

    monkeypatch.setattr(module, "environment", missing)
    with make() as field:
        field.start([contender("a")])
    assert field.lost == {"a": "no wheel"}
