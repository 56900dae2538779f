"""YAML for TensorRT-LLM."""

from __future__ import annotations

import yaml

from casspec.storage.export import exporter
from tests.storage import samples
from tests.storage.export.test_vllm import LOOKUP, SELF


def test_the_pool_is_each_request_s_own_as_prompt_lookup_is() -> None:
    exported = exporter("tensorrt-llm")(samples.profile(drafters=(SELF, LOOKUP)))
    assert yaml.safe_load(exported.text) == {
        "speculative_config": {
            "decoding_type": "NGram",
            "max_draft_len": 7,
            "max_matching_ngram_size": 5,
            "is_public_pool": False,
        },
        "disable_overlap_scheduler": True,
    }
    assert exported.fidelity == "partial"
    assert "translated" in exported.note
