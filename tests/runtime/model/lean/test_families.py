"""Which models are covered and how large they are; everything else is refused by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoConfig

from casspec.runtime.model.lean.families import Dimensions, family_of
from casspec.storage.errors import UnsupportedModel
from tests.runtime.tiny import library_model

GIVEN: dict[str, Any] = {
    "hidden_size": 96,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 200,
    "vocab_size": 11,
    "rms_norm_eps": 1e-6,
}


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        ("mistral", {"sliding_window": 64}, "sliding window of 64"),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 2}, "sliding window of 64"),
        ("qwen3", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 0}, "sliding window of 64"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "'dynamic'"),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "longrope",
                    "rope_theta": 1e4,
                    "short_factor": [1.0] * 4,
                    "long_factor": [2.0] * 4,
                    "original_max_position_embeddings": 64,
                }
            },
            "'longrope'",
        ),
        ("gpt2", {}, "'gpt2'"),
        ("gemma", {}, "'gemma'"),
    ],
)
def test_what_is_not_covered_is_refused_by_name(family: str, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModel, match=named) as refusal:
        family_of(AutoConfig.for_model(family, max_position_embeddings=256, **changes))
    assert "\n" not in str(refusal.value)


def test_a_window_that_is_switched_off_is_no_obstacle() -> None:
    config = AutoConfig.for_model("qwen2", sliding_window=64, use_sliding_window=False, max_position_embeddings=256)
    assert family_of(config).name == "qwen2"


def test_every_size_is_read() -> None:
    assert Dimensions.of(SimpleNamespace(**GIVEN)) == Dimensions(96, 6, 2, 32, 200, 11, 1e-6)


def test_key_heads_and_the_width_of_heads_follow_from_the_others() -> None:
    for absent in ({}, {"num_key_value_heads": None, "head_dim": None}):
        given = {name: value for name, value in GIVEN.items() if name not in ("num_key_value_heads", "head_dim")}
        found = Dimensions.of(SimpleNamespace(**given, **absent))
        assert (found.kv_heads, found.head_dim) == (6, 16)


def test_a_library_config_is_understood() -> None:
    found = Dimensions.of(library_model("llama").config)
    assert (found.hidden, found.heads, found.kv_heads, found.head_dim, found.vocab) == (32, 4, 2, 8, 31)
