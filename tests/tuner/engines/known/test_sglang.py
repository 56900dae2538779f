"""What SGLang is told and what it tells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from casspec.storage.engines.documents import PLAIN, EngineSetting
from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.sglang import BREADTH, LENGTH, NGRAM, Sglang
from casspec.tuner.engines.metrics import Counters, read_counters
from casspec.tuner.engines.protocol import Abilities, Start

ABLE = Abilities("0.5.23", False, frozenset({"off", NGRAM}))
EAGLE = EngineSetting(method="EAGLE3", parameters={"speculative-draft-model-path": "heads", "speculative-num-steps": 3})

RECORDED = """# HELP sglang:generation_tokens_total Number of generation tokens processed.
# TYPE sglang:generation_tokens_total counter
sglang:generation_tokens_total{is_streaming="true",model_name="m"} 96.0
sglang:generation_tokens_total{is_streaming="false",model_name="m"} 8.0
sglang:spec_verify_calls_total{model_name="m"} 40.0
sglang:num_requests_total{is_streaming="true",model_name="m"} 3.0
sglang:num_requests_total{is_streaming="false",model_name="m"} 1.0
sglang:spec_accept_length{model_name="m"} 2.6
"""
"""In the format of 0.5.23."""


def start(setting: EngineSetting = PLAIN, **changes: Any) -> Start:
    fields: dict[str, Any] = {"python": Path("/env/bin/python"), "model": "org/model", "setting": setting, "port": 8123}
    return Start(**fields | {"dtype": "auto", "abilities": ABLE} | changes)


def test_the_command_line_has_options_and_the_user_s_words_last() -> None:
    words = Sglang().words(start(Sglang().ngram_setting(1, 3, 7), context=512, words=("--disable-cuda-graph",)))
    assert words[:5] == ["/env/bin/python", "-m", "sglang.launch_server", "--model-path", "org/model"]
    assert words[words.index("--context-length") + 1] == "512"
    assert words[words.index("--speculative-algorithm") + 1] == "NGRAM"
    assert words[words.index(f"--{LENGTH}") + 1] == "8", "the last token of the text is counted"
    assert words[-1] == "--disable-cuda-graph"
    plain = Sglang().words(start())
    assert "--enable-metrics" in plain
    assert not any(word.startswith("--speculative") for word in plain)


def test_accepted_tokens_follow_from_steps_and_requests() -> None:
    assert read_counters(RECORDED, Sglang.counters) == Counters(104.0, 40.0, None, 60.0)
    plain = "".join(line + "\n" for line in RECORDED.splitlines() if "spec_" not in line)
    assert read_counters(plain, Sglang.counters) == Counters(104.0)
    assert read_counters("", Sglang.counters) == Counters(0.0), "nothing is told before a request has ended"


def test_what_is_installed_is_found_without_importing_it(llama_server: Path) -> None:
    found = Sglang().abilities(Path(sys.executable))
    assert (found.version, found.draft_by_batch) == ("0.5.23", False)
    assert NGRAM in found.methods
    (llama_server.parent / "sglang" / "srt" / "server_args.py").write_text("")
    assert NGRAM not in Sglang().abilities(Path(sys.executable)).methods


def test_a_missing_engine_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="no sglang on PATH"):
        Sglang().interpreter(None)
    with pytest.raises(EngineError, match="has no SGLang"):
        Sglang().abilities(tmp_path)


def test_a_tree_and_chains_are_measured_without_prediction() -> None:
    assert Sglang.ngram is None
    found = Sglang().defaults(ABLE)
    assert [Sglang().drafts_at(each, 1) for each in found] == [11, 7, 3]
    assert [BREADTH in each.parameters for each in found] == [False, True, True]
    assert not Sglang().defaults(Abilities("0.4", False, frozenset({"off"})))
    assert Sglang().ngram_lengths(found[0]) is None


def test_draft_lengths_are_without_the_token_that_is_verified_too() -> None:
    assert Sglang().drafts_at(PLAIN, 1) == 0
    assert Sglang().drafts_at(EngineSetting(method=NGRAM), 4) == 11
    assert Sglang().drafts_at(EAGLE, 4) == 3
    assert Sglang().configuration(EAGLE) == {"speculative-algorithm": "EAGLE3", **EAGLE.parameters}
    assert Sglang().configuration(PLAIN) is None


def test_what_it_shares_between_requests_is_said_and_forgotten() -> None:
    assert Sglang.forget_path is not None
    assert Sglang.forget_path.startswith("/flush_cache")
    assert "another" in Sglang().refuses(EngineSetting(method=NGRAM))[1]
    assert Sglang().refuses(PLAIN) == Sglang().refuses(EAGLE) == ()


def test_token_ids_are_asked_for_and_read() -> None:
    assert Sglang().request_fields("a") == {"return_token_ids": True, "cache_salt": "a"}
    assert Sglang().answer_ids({"token_ids": [3, 4]}) == [3, 4]
    assert Sglang().answer_ids({"text": "a"}) is None
    assert NGRAM in Sglang().abilities_of("0.5.23").methods
