"""What llama.cpp's server is told and what it tells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from casspec.storage.engines.documents import PLAIN, EngineSetting
from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.llama_cpp import ROOM, LlamaCpp
from casspec.tuner.engines.metrics import Counters, read_counters
from casspec.tuner.engines.protocol import Abilities, Start

ABLE = Abilities("b11434-abc1234", False, frozenset({"off", "ngram-simple", "ngram-map-k"}))

RECORDED = """# HELP llamacpp:tokens_predicted_total Number of generation tokens processed
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:prompt_tokens_total 18
llamacpp:tokens_predicted_total 24
llamacpp:n_decode_total 6
llamacpp:spec_decode_num_draft_tokens_total 18
llamacpp:spec_decode_num_accepted_tokens_total 18
llamacpp:spec_decode_num_drafts_total 5
llamacpp:predicted_tokens_seconds 8.17945
llamacpp:requests_processing 0
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 5
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="1"} 5
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="2"} 4
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="3"} 4
llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="4"} 0
"""
"""Recorded from b11549 after one request of 24 tokens, and shortened."""


def start(setting: EngineSetting = PLAIN, **changes: Any) -> Start:
    fields: dict[str, Any] = {"python": Path("/bin/llama-server"), "model": "m.gguf", "setting": setting, "port": 8123}
    return Start(**fields | {"dtype": "auto", "abilities": ABLE} | changes)


def test_the_command_line_has_options_and_the_user_s_words_last() -> None:
    words = LlamaCpp().words(start(LlamaCpp().ngram_setting(4, 4, 12), words=("--threads", "2")))
    assert words[:3] == ["/bin/llama-server", "--model", "m.gguf"]
    assert "--metrics" in words
    assert words[words.index("--spec-type") + 1] == "ngram-simple"
    assert words[words.index("--spec-ngram-simple-size-n") + 1] == "4"
    assert words[words.index("--spec-ngram-simple-size-m") + 1] == "12"
    assert words[-2:] == ["--threads", "2"]
    assert not any(word.startswith("--spec") for word in LlamaCpp().words(start()))


@pytest.mark.parametrize(
    ("changes", "cache"),
    [({}, 0), ({"longest": 100}, 4 * (100 + ROOM)), ({"longest": 100, "context": 500}, 4 * (500 + ROOM))],
)
def test_its_cache_holds_all_requests_at_a_time(changes: dict[str, int], cache: int) -> None:
    words = LlamaCpp().words(start(requests=4, **changes))
    assert words[words.index("--parallel") + 1] == "4"
    assert words[words.index("--ctx-size") + 1] == str(cache)


def test_a_model_in_another_form_and_a_dtype_are_refused() -> None:
    with pytest.raises(EngineError, match="takes no --dtype"):
        LlamaCpp().words(start(dtype="float16"))
    with pytest.raises(EngineError, match="serves a GGUF file"):
        LlamaCpp().words(start(model="org/model"))


def test_counters_are_read() -> None:
    assert read_counters(RECORDED, LlamaCpp.counters) == Counters(24.0, 5.0, 18.0, 18.0, (5.0, 5.0, 4.0, 4.0, 0.0))


def test_the_program_says_what_it_can(llama_server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(llama_server.parent))
    assert LlamaCpp().interpreter(None) == llama_server
    found = LlamaCpp().abilities(llama_server)
    assert found.version == "b11434-abc1234"
    assert {"off", "ngram-simple", "ngram-map-k", "draft-simple"} <= found.methods
    assert "ngram-map-k4v" not in found.methods
    assert [each.method for each in LlamaCpp().defaults(found)] == ["ngram-map-k"]
    assert not LlamaCpp().defaults(Abilities("b1", False, frozenset({"off"})))


@pytest.mark.parametrize(
    ("prints", "told"),
    [
        ('echo "version: 4567 (abcdef0)"', "is too old"),
        ('echo "no server"', "is no llama-server"),
        ("exit 3", "is no llama-server"),
    ],
)
def test_another_program_and_an_old_one_are_one_line(tmp_path: Path, prints: str, told: str) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{prints}\n")
    program.chmod(0o755)
    with pytest.raises(EngineError, match=told):
        LlamaCpp().abilities(program)
    with pytest.raises(EngineError, match="is no llama-server"):
        LlamaCpp().abilities(Path(sys.executable))


def test_draft_lengths_are_each_method_s_own() -> None:
    engine = LlamaCpp()
    named = EngineSetting(method="draft-simple", parameters={"spec-draft-model": "s.gguf", "spec-draft-n-max": 8})
    lengths = {
        "off": 0,
        "ngram-simple": 48,
        "ngram-mod": 64,
        "draft-mtp": 3,
    }
    assert {method: engine.drafts_at(EngineSetting(method=method), 1) for method in lengths} == lengths
    assert engine.drafts_at(named, 4) == 8
    assert engine.drafts_at(engine.ngram_setting(3, 3, 9), 4) == 9
    assert engine.configuration(named) == {"spec-type": "draft-simple", **named.parameters}
    assert engine.configuration(PLAIN) is None
    assert engine.ngram_lengths(engine.ngram_setting(2, 5, 9)) == (5, 5)
    assert engine.ngram_lengths(named) is None


def test_answers_tell_no_ids_and_prompts_are_not_kept() -> None:
    assert LlamaCpp().request_fields("a") == {"cache_prompt": False}
    assert LlamaCpp().answer_ids({"text": "a"}) is None
    assert LlamaCpp().refuses(LlamaCpp().ngram_setting(2, 2, 4)) == ()
    assert "another" in LlamaCpp().refuses(EngineSetting(method="ngram-mod"))[0]
    assert "ngram-simple" in LlamaCpp().abilities_of("b11434-abc1234").methods
