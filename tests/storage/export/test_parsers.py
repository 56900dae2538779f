"""Exports under the parsers of the engines they are for, which must be installed: see tests/engine_environments.py."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from casspec.reference import reference_path
from casspec.storage.engines.documents import EngineSetting
from casspec.storage.export import engine_result, exporter
from casspec.tuner.engines.known.vllm import LENGTH, PROPOSER, Vllm
from tests.engine_environments import python_with
from tests.storage import samples
from tests.storage.engines.test_documents import result
from tests.storage.export.vllm_parser import MOST

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]
HERE = Path(__file__).parent
LENGTHS = ({1: 6, 4: 3, 16: 0}, {1: 4, 2: 1}, {1: 0, 8: 2}, {1: 5, 32: 5})

OWN = EngineSetting(method="custom_class", parameters={"model": PROPOSER, LENGTH: 12})
SUFFIX = EngineSetting(method="suffix", parameters={LENGTH: 16})
NGRAM = Vllm().ngram_setting(2, 5, 4)
SETTINGS = [NGRAM, OWN, *(Vllm().by_batch(one, each) for one in (NGRAM, OWN) for each in LENGTHS)]


def told_by(python: Path, script: str, words: Sequence[str], given: str = "") -> Any:
    """The last line that a parser prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"}
    line = [str(python), str(HERE / script), *words]
    done = subprocess.run(line, input=given, capture_output=True, text=True, env=environment, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def under_vllm(texts: Sequence[str]) -> list[dict[str, Any]]:
    """What vLLM makes of exported files. It is imported once, which takes long."""
    given = f"[{','.join(texts)}]"
    found: list[dict[str, Any]] = told_by(python_with("vllm"), "vllm_parser.py", [str(reference_path())], given)
    return found


def measured(setting: EngineSetting) -> str:
    return engine_result.export(result(configuration=Vllm().configuration(setting))).text


def test_vllm_takes_what_was_measured_as_it_was_meant() -> None:
    found = under_vllm([measured(setting) for setting in SETTINGS])
    for setting, told in zip(SETTINGS, found, strict=True):
        assert "error" not in told, told
        assert (told["method"], told["num_speculative_tokens"]) == (setting.method, setting.parameters[LENGTH])
        assert told["lengths"] == [Vllm().drafts_at(setting, batch) for batch in range(1, MOST + 1)]
        if setting.method == "ngram":
            assert (told["prompt_lookup_min"], told["prompt_lookup_max"]) == (2, 5)
        else:
            assert told["model"] == PROPOSER


def test_vllm_takes_what_was_translated_and_refuses_what_it_does_not_know() -> None:
    translated, suffix, unknown, overlapping = under_vllm(
        [
            exporter("vllm")(samples.profile()).text,
            measured(SUFFIX),
            '{"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_least": 2}',
            measured(
                NGRAM.model_copy(update={"parameters": {LENGTH: 4, "num_speculative_tokens_per_batch_size": [[2, 3]]}})
            ),
        ]
    )
    assert (translated["method"], translated["num_speculative_tokens"]) == ("ngram", 10)
    assert suffix.get("method") == "suffix" or "Arctic Inference is required" in suffix["error"]
    assert "prompt_lookup_least" in unknown["error"]
    assert "error" in overlapping


def test_sglang_takes_the_options_of_its_export() -> None:
    pytest.importorskip("casspec.storage.export.sglang", reason="there is no export for SGLang")
    words = shlex.split(exporter("sglang")(samples.profile()).text)
    told = told_by(python_with("sglang"), "sglang_parser.py", [str(reference_path()), *words])
    assert told["speculative_algorithm"] == "NGRAM"
    given = dict(zip(words[::2], words[1::2], strict=True))
    for option, value in given.items():
        assert str(told[option.removeprefix("--").replace("-", "_")]) == value


def test_transformers_takes_the_generation_config_and_would_not_take_any() -> None:
    from transformers import GenerationConfig

    config = GenerationConfig(**json.loads(exporter("huggingface")(samples.profile()).text))
    config.validate(strict=True)
    assert (config.prompt_lookup_num_tokens, config.max_matching_ngram_size) == (10, 3)
