"""What TensorRT-LLM is told and what it tells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from casspec.storage.engines.documents import PLAIN, EngineSetting
from casspec.storage.errors import EngineError
from casspec.tuner.engines.known.tensorrt_llm import LENGTH, LONGEST, NGRAM, TensorrtLlm
from casspec.tuner.engines.metrics import Counters, read_counters
from casspec.tuner.engines.protocol import Abilities, Start

ABLE = Abilities("1.3.0", False, frozenset({"off", NGRAM}))

RECORDED = """# HELP trtllm_generation_tokens_total Cumulative number of generation (output) tokens produced.
# TYPE trtllm_generation_tokens_total counter
trtllm_generation_tokens_total{engine_type="undefined",model_name="undefined"} 104.0
trtllm_spec_decode_num_draft_tokens_total{engine_type="undefined",model_name="undefined"} 120.0
trtllm_spec_decode_num_accepted_tokens_total{engine_type="undefined",model_name="undefined"} 60.0
trtllm_spec_decode_acceptance_length{engine_type="undefined",model_name="undefined"} 2.5
"""
"""In the format of 1.3."""


def start(folder: Path, setting: EngineSetting = PLAIN, **changes: Any) -> Start:
    fields: dict[str, Any] = {"python": Path("/env/bin/python"), "model": "org/model", "setting": setting, "port": 8123}
    return Start(**fields | {"dtype": "auto", "abilities": ABLE, "folder": folder} | changes)


def told(words: list[str]) -> dict[str, Any]:
    """What the file on the command line says."""
    return dict(yaml.safe_load(Path(words[words.index("--extra_llm_api_options") + 1]).read_text("utf-8")))


def test_the_command_line_names_a_file_with_the_configuration(tmp_path: Path) -> None:
    setting = TensorrtLlm().ngram_setting(1, 3, 7)
    words = TensorrtLlm().words(start(tmp_path / "new", setting, context=512, words=("--tp_size", "2")))
    assert words[:5] == ["/env/bin/python", "-m", "tensorrt_llm.commands.serve", "serve", "org/model"]
    assert words[words.index("--max_seq_len") + 1] == "512"
    assert words[-2:] == ["--tp_size", "2"]
    found = told(words)
    assert found["speculative_config"] == {"decoding_type": NGRAM, LENGTH: 7, LONGEST: 3, "is_public_pool": False}
    assert found["disable_overlap_scheduler"] is True
    assert found["return_perf_metrics"] is found["enable_iter_perf_stats"] is True
    assert found["kv_cache_config"] == {"enable_block_reuse": False}


def test_without_speculation_it_counts_and_schedules_as_it_likes(tmp_path: Path) -> None:
    found = told(TensorrtLlm().words(start(tmp_path, dtype="float16")))
    assert found["dtype"] == "float16"
    assert not found.keys() & {"speculative_config", "disable_overlap_scheduler"}
    assert found["return_perf_metrics"] is True


def test_counters_lie_beside_metrics_and_count_no_steps() -> None:
    assert TensorrtLlm.counters.path == "/prometheus/metrics"
    assert read_counters(RECORDED, TensorrtLlm.counters) == Counters(104.0, None, 120.0, 60.0)
    assert read_counters("", TensorrtLlm.counters) == Counters(0.0), "nothing is told before a request has ended"


def test_what_is_installed_is_found_without_importing_it(llama_server: Path) -> None:
    found = TensorrtLlm().abilities(Path(sys.executable))
    assert (found.version, found.draft_by_batch) == ("1.3.0", False)
    assert NGRAM in found.methods
    assert TensorrtLlm().defaults(found) == ()
    settings = llama_server.parent / "tensorrt_llm" / "llmapi" / "llm_args.py"
    settings.write_text('"""class SADecodingConfig"""')
    found = TensorrtLlm().abilities(Path(sys.executable))
    assert NGRAM not in found.methods
    assert [each.method for each in TensorrtLlm().defaults(found)] == ["SA"]


def test_a_missing_engine_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="no trtllm-serve on PATH"):
        TensorrtLlm().interpreter(None)
    with pytest.raises(EngineError, match="has no TensorRT-LLM"):
        TensorrtLlm().abilities(tmp_path)


def test_only_methods_that_need_it_give_up_the_overlapped_scheduler() -> None:
    eagle = EngineSetting(method="Eagle3", parameters={LENGTH: 3, "speculative_model": "heads"})
    assert TensorrtLlm().configuration(eagle) == {"speculative_config": {"decoding_type": "Eagle3", **eagle.parameters}}
    assert TensorrtLlm().configuration(PLAIN) is None
    assert (TensorrtLlm().drafts_at(eagle, 4), TensorrtLlm().drafts_at(PLAIN, 4)) == (3, 0)
    assert TensorrtLlm().ngram_lengths(eagle) is None
    assert TensorrtLlm().ngram_lengths(TensorrtLlm().ngram_setting(2, 5, 4)) == (1, 5)
    assert "PyTorch" in TensorrtLlm().refuses(eagle)[0]
    assert TensorrtLlm().refuses(PLAIN) == ()


def test_token_ids_are_told_in_place_of_text() -> None:
    assert TensorrtLlm().request_fields("a") == {"detokenize": False}, "a field that it does not know is refused"
    assert TensorrtLlm().answer_ids({"token_ids": [3, 4]}) == [3, 4]
    assert TensorrtLlm().answer_ids({"text": "a"}) is None
    assert TensorrtLlm().abilities_of("1.3.0").version == "1.3.0"
