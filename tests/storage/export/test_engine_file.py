"""Files that engines read."""

from __future__ import annotations

import json
import shlex

import yaml

from casspec.storage.export.engine_file import USES, file_text, option_words

NESTED = {"speculative_config": {"decoding_type": "NGram", "max_draft_len": 4, "is_public_pool": False}, "a b": [1, 2]}
OPTIONS = {"spec-type": "ngram-simple", "spec-draft-n-max": 8, "spec-default": True, "model-draft": "a file.gguf"}


def test_each_engine_reads_its_own_form() -> None:
    assert json.loads(file_text("vllm", {"method": "ngram"})) == {"method": "ngram"}
    assert yaml.safe_load(file_text("tensorrt-llm", NESTED)) == NESTED
    assert file_text("tensorrt-llm", NESTED).splitlines()[1] == '  decoding_type: "NGram"'
    text = file_text("llama.cpp", OPTIONS)
    assert text.startswith("--spec-type ngram-simple --spec-draft-n-max 8 --spec-default --model-draft")
    assert shlex.split(text) == option_words(OPTIONS)


def test_no_speculation_is_a_file_that_says_nothing_of_it() -> None:
    assert {name: file_text(name, None) for name in USES} == {
        "vllm": "null\n",
        "sglang": "\n",
        "tensorrt-llm": "{}\n",
        "llama.cpp": "\n",
    }
