"""Rows made ready, or named as missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.peers import stage as module
from benchmarks.peers.engines import ENGINES, Engine
from benchmarks.peers.environments import Environment, PeerUnavailable
from benchmarks.peers.files import ModelFiles
from benchmarks.peers.prompts import Question
from benchmarks.peers.race import Race
from benchmarks.peers.stage import Stage, variables

ASKED = [Question("a", "greedy", (9,), 8, 0)]
HERE = Environment(Path(sys.executable))
LLAMA, VLLM = ENGINES["llama.cpp"], ENGINES["vllm"]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Stage]:
    monkeypatch.setattr(Engine, "worker", Path(__file__).parent / "fake_worker.py")

    def made() -> Stage:
        settings = {"threads": 1, "cores": [0], "context": 64}
        files = ModelFiles("m", tmp_path, None, tmp_path)
        return Stage(files, tmp_path, tmp_path, Race(), settings)

    return made


def test_an_engine_that_cannot_be_installed_loses_all_its_rows(
    make: Callable[[], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(engine: Engine, folder: Path, again: bool) -> Environment:
        if engine is VLLM:
            raise PeerUnavailable("no wheel")
        return HERE

    monkeypatch.setattr(module, "environment", installed)
    with make() as stage:
        ready = stage.prepare([VLLM, ENGINES["transformers"]], again=False)
    assert list(ready) == list(ENGINES["transformers"].rows)
    assert stage.race.lost == dict.fromkeys(VLLM.rows, "no wheel")


def test_a_row_without_its_file_is_lost_alone(make: Callable[[], Stage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "environment", lambda *_: HERE)
    with make() as stage:
        ready = stage.prepare([VLLM, LLAMA], again=False)
    assert list(ready) == list(VLLM.rows)
    assert set(stage.race.lost) == set(LLAMA.rows)


def test_threads_are_told_in_the_way_an_engine_takes_them(tmp_path: Path) -> None:
    place = Environment(tmp_path / "bin" / "python")
    assert variables(LLAMA, place, [0])["OMP_NUM_THREADS"] == "1"
    bound = variables(VLLM, place, [0])
    assert bound["VLLM_CPU_OMP_THREADS_BIND"] == "0"
    assert "OMP_NUM_THREADS" not in bound
    assert "LD_PRELOAD" not in bound


def test_a_library_to_preload_stands_behind_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert VLLM.preloads is not None
    library = tmp_path / VLLM.preloads
    library.parent.mkdir()
    library.touch()
    monkeypatch.setenv("LD_PRELOAD", "libown.so")
    found = variables(VLLM, Environment(tmp_path / "bin" / "python"), [0])
    assert found["LD_PRELOAD"] == f"libown.so {library}"


def test_a_loaded_row_races_and_one_that_cannot_load_is_named(make: Callable[[], Stage], tmp_path: Path) -> None:
    good, bad = VLLM.rows
    with make() as stage:
        stage.start(good, HERE, tmp_path, ASKED)
        stage.start(bad, HERE, tmp_path / "broken.gguf", ASKED)
        stage.race.run(stage.workers, ASKED, 2)
        stage.observe()
    assert [each.row for each in stage.race.measurements] == [good, good]
    assert stage.entrants[good].about == "fake 1.0, plain"
    assert list(stage.entrants) == [good]
    assert stage.race.lost[bad].startswith("ValueError: not a model; see ")
