"""What vLLM is told and what it tells."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from casspec.storage.engines.documents import PLAIN, EngineSetting
from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.vllm import BY_BATCH, LENGTH, PROBE_FILE, STEPS_FILE, Vllm
from casspec.tuner.engines.protocol import Abilities, Start
from tests.tuner.engines.conftest import install

ABLE = Abilities("0.33.0", True, frozenset({"off", "ngram", "custom_class"}))


def start(setting: EngineSetting = PLAIN, **changes: Any) -> Start:
    fields: dict[str, Any] = {"python": Path("/env/bin/python"), "model": "org/model", "setting": setting, "port": 8123}
    return Start(**fields | {"dtype": "auto", "abilities": ABLE} | changes)


def test_the_command_line_has_the_configuration_and_the_user_s_words_last() -> None:
    words = Vllm().words(start(Vllm().ngram_setting(2, 5, 4), context=512, words=("--enforce-eager",)))
    assert words[:5] == ["/env/bin/python", "-m", "vllm.entrypoints.openai.api_server", "--model", "org/model"]
    assert words[words.index("--max-model-len") + 1] == "512"
    told = json.loads(words[words.index("--speculative-config") + 1])
    assert told == {"method": "ngram", "prompt_lookup_min": 2, "prompt_lookup_max": 5, LENGTH: 4}
    assert words[-1] == "--enforce-eager"
    assert "--speculative-config" not in Vllm().words(start())


def test_a_processor_gets_its_cores_and_what_the_user_set_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "8")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    on_cpu = Abilities("0.33.0+cpu", True, frozenset(), runs_on_cpu=True)
    found = Vllm().variables(start(abilities=on_cpu, cores=(0, 1), model=str(tmp_path), probe_file=tmp_path / "p"))
    assert found["VLLM_CPU_OMP_THREADS_BIND"] == "0,1"
    assert "VLLM_CPU_KVCACHE_SPACE" not in found
    assert found["HF_HUB_OFFLINE"] == "1"
    assert found[PROBE_FILE] == str(tmp_path / "p")
    elsewhere = Vllm().variables(start(steps_file=tmp_path / "s"))
    assert "VLLM_CPU_OMP_THREADS_BIND" not in elsewhere
    assert elsewhere[STEPS_FILE] == str(tmp_path / "s")


@pytest.mark.parametrize(
    ("lengths", "table", "longest"),
    [
        ({1: 6, 4: 3, 16: 0}, [[1, 2, 6], [3, 8, 3], [9, 16, 0]], 6),
        ({1: 4, 2: 1}, [[1, 1, 4], [2, 2, 1]], 4),
        ({1: 0, 8: 2}, [[1, 3, 0], [4, 8, 2]], 2),
    ],
)
def test_draft_lengths_follow_the_batch(lengths: dict[int, int], table: list[list[int]], longest: int) -> None:
    engine = Vllm()
    found = engine.by_batch(engine.ngram_setting(2, 4, 9), lengths)
    assert found.parameters[BY_BATCH] == table
    assert found.parameters[LENGTH] == longest
    assert {place: engine.drafts_at(found, place) for place in lengths} == lengths


def test_one_draft_length_for_all_needs_no_table() -> None:
    engine = Vllm()
    table = engine.by_batch(engine.ngram_setting(2, 4, 9), {1: 6, 4: 3})
    assert engine.by_batch(table, {1: 5, 4: 5}) == engine.ngram_setting(2, 4, 5)
    assert engine.drafts_at(engine.ngram_setting(2, 4, 5), 64) == 5
    assert engine.drafts_at(PLAIN, 1) == 0


def test_what_is_installed_is_found_without_importing_it(fake_vllm: Path) -> None:
    found = Vllm().abilities(Path(sys.executable))
    assert (found.version, found.draft_by_batch, found.runs_on_cpu) == ("0.33.0", True, False)
    assert {"ngram", "custom_class"} <= found.methods
    assert "suffix" not in found.methods, "arctic-inference is not installed"


def test_an_older_release_takes_neither_tables_nor_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "old", "0.20.0+cpu", "ngram")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "old"))
    found = Vllm().abilities(Path(sys.executable))
    assert (found.version, found.draft_by_batch, found.runs_on_cpu) == ("0.20.0+cpu", False, True)
    assert "custom_class" not in found.methods


@pytest.mark.parametrize(
    ("version", "is_able"), [("0.33.1", True), ("0.32.0", True), ("0.31.9", False), ("1.0", True), ("?", False)]
)
def test_a_running_one_is_known_by_its_version(version: str, is_able: bool) -> None:
    found = Vllm().abilities_of(version)
    assert (found.draft_by_batch, "custom_class" in found.methods) == (is_able, is_able)


def test_a_missing_engine_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    with pytest.raises(EngineError, match="no vllm on PATH"):
        Vllm().interpreter(None)
    with pytest.raises(EngineError, match="is no file"):
        Vllm().interpreter(tmp_path / "python")
    with pytest.raises(EngineError, match="has no vLLM"):
        Vllm().abilities(Path(sys.executable))
    with pytest.raises(EngineError, match="has no vLLM"):
        Vllm().abilities(tmp_path)


def test_the_interpreter_lies_beside_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = tmp_path / "vllm"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="no Python beside it"):
        Vllm().interpreter(None)
    (tmp_path / "python").touch()
    assert Vllm().interpreter(None) == (tmp_path / "python").resolve()


def test_what_it_refuses_is_told_only_while_it_speculates() -> None:
    assert Vllm().refuses(PLAIN) == ()
    assert "min_p" in Vllm().refuses(Vllm().ngram_setting(1, 2, 3))[0]
    assert Vllm().configuration(PLAIN) is None
    assert "importable" in Vllm().refuses(Vllm().probe_setting(4))[1]


def test_suffix_decoding_is_measured_where_it_is_installed() -> None:
    with_suffix = Abilities("0.33.0", True, frozenset({"suffix"}))
    assert [each.method for each in Vllm().defaults(with_suffix)] == ["suffix"]
    assert Vllm().defaults(Abilities("0.20", False, frozenset())) == []


def test_token_ids_are_asked_for_and_read() -> None:
    assert Vllm().request_fields("a") == {"return_token_ids": True, "cache_salt": "a"}
    assert Vllm().answer_ids({"token_ids": [3, 4]}) == [3, 4]
    assert Vllm().answer_ids({"text": "a"}) is None
