"""Starting the engine again and again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from casspec.storage.engines.documents import PLAIN
from casspec.storage.errors import EngineError
from casspec.storage.export.engine_file import file_text
from casspec.tuner.engines.asked import completion
from casspec.tuner.engines.known.by_name import engine_named
from casspec.tuner.engines.known.llama_cpp import LlamaCpp
from casspec.tuner.engines.known.vllm import Vllm
from casspec.tuner.engines.process import EngineFailed, NotReady
from casspec.tuner.engines.tuning.starting import CONFIGURATION, STEPS, RestartedEngine, version_behind
from tests.tuner.engines.test_guard import gone
from tests.tuner.engines.tuning.made_up import ngram, session

Serve = Callable[..., str]


def test_an_engine_of_ours_runs_inside_the_block_only(fake_vllm: Path, tmp_path: Path) -> None:
    with session(tmp_path) as made:
        with made.starter.started(ngram()) as instance:
            assert instance.model == "model"
            assert instance.counters().drafts == 0
            assert instance.process is not None
            pid = instance.process.pid
        assert gone([pid])
        with made.starter.started(PLAIN) as instance:
            assert instance.counters().drafts is None


def test_it_finds_casspec_and_what_steps_take(fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "casspec").mkdir(parents=True)
    (tmp_path / "here" / "casspec" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path / "here")
    with session(tmp_path) as made:
        made.folder.mkdir(exist_ok=True)
        (made.folder / STEPS).write_text("{}")
        with made.starter.started(ngram(), tmp_path / "probe") as instance:
            assert instance.process is not None
            child = next(Path("/proc").glob(f"{instance.process.pid}/task/*/children")).read_text().split()[0]
            variables = dict(
                word.split("=", 1) for word in Path(f"/proc/{child}/environ").read_text().split("\0") if "=" in word
            )
        assert variables["CASSPEC_PROBE_FILE"] == str(tmp_path / "probe")
        assert variables["CASSPEC_ENGINE_RESULT"] == str(made.folder / STEPS)
        first, *others = variables["PYTHONPATH"].split(os.pathsep)
        assert [each.name for each in Path(first).iterdir()] == ["casspec"]
        assert others == [str(fake_vllm)]
        look = [sys.executable, "-c", "import casspec.storage.errors as found; print(found.__file__)"]
        place = subprocess.run(look, env=variables, capture_output=True, text=True, check=True).stdout.strip()
    assert place == f"{first}/casspec/storage/errors.py", "not the folder of that name here"


def test_a_command_starts_an_engine_behind_a_url(serve: Serve, tmp_path: Path) -> None:
    url, note = serve(), tmp_path / "told"
    command = f'echo "${CONFIGURATION}" >> {note}'
    restarted = RestartedEngine(Vllm(), url, command, tmp_path / "engine")
    for setting in (ngram(), PLAIN):
        with restarted.started(setting, tmp_path / "probe") as instance:
            assert instance.counters().generated == 0
            instance.check()
    first, second = note.read_text().splitlines()
    assert json.loads(first) == Vllm().configuration(ngram())
    assert second == ""


def test_a_command_that_fails_and_a_url_that_stays_silent_are_one_line(serve: Serve, tmp_path: Path) -> None:
    failing = f"{sys.executable} -c \"raise ValueError('no engine')\""
    with pytest.raises(EngineFailed, match="ended with code 1: ValueError: no engine"):
        RestartedEngine(Vllm(), "http://127.0.0.1:1", failing, tmp_path).started(PLAIN).__enter__()
    with pytest.raises(EngineFailed, match="did not answer in time"):
        RestartedEngine(Vllm(), "http://127.0.0.1:1", "true", tmp_path, ready_s=0.5).started(PLAIN).__enter__()
    with pytest.raises(NotReady, match="did not return within 0 s"):
        RestartedEngine(Vllm(), "http://127.0.0.1:1", "sleep 60", tmp_path).started(PLAIN, most_s=0.2).__enter__()
    with pytest.raises(NotReady, match="did not answer in time"):
        RestartedEngine(Vllm(), "http://127.0.0.1:1", "true", tmp_path).started(PLAIN, most_s=0.3).__enter__()
    assert version_behind(serve(), None, Vllm()) == "0.33.0"
    with pytest.raises(EngineError, match="is not reached"):
        version_behind("http://127.0.0.1:1", None, Vllm())


@pytest.mark.parametrize("name", ["llama.cpp", "sglang", "tensorrt-llm"])
def test_other_engines_are_started_counted_and_told_to_forget(name: str, llama_server: Path, tmp_path: Path) -> None:
    engine = engine_named(name)
    program = llama_server if name == "llama.cpp" else Path(sys.executable)
    with session(tmp_path, engine=engine, program=program) as made:
        with made.starter.started(engine.ngram_setting(2, 2, 4)) as instance:
            assert instance.counters().generated == 0
            instance.forget()
            version = version_behind(instance.endpoint.url, None, engine)
            request = completion("model", range(1, 9), 24, engine.request_fields("a"))
            (answer,) = instance.endpoint.drive([request], 1).answers
            counted = instance.counters()
        assert version == made.abilities.version
    assert answer.failure is None
    assert (answer.tokens, len(answer.ids or answer.text.split())) == (24, 24)
    assert counted.generated == 24
    assert counted.accepted_tokens is not None
    assert counted.accepted_tokens > 10


def test_a_restart_command_finds_the_configuration_as_the_engine_takes_it(tmp_path: Path, serve: Serve) -> None:
    note, engine = tmp_path / "told", LlamaCpp()
    restarted = RestartedEngine(engine, serve(), f'echo "${CONFIGURATION}" > {note}', tmp_path / "engine")
    with restarted.started(engine.ngram_setting(2, 2, 4)):
        assert note.read_text() == file_text(engine.name, engine.configuration(engine.ngram_setting(2, 2, 4)))
