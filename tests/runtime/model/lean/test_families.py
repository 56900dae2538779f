"""Which models are covered and how large they are; everything else is refused by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from transformers import AutoConfig

from casspec.runtime.model.lean.families import FAMILIES, Dimensions, family_of, windows_of
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
    "hidden_act": "silu",
}
LLAMA = FAMILIES["llama"]


LONG: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "short_factor": [1.0] * 48,
    "long_factor": [2.0] * 48,
    "original_max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    ("family", "changes", "named"),
    [
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "'dynamic'"),
        ("llama", {"rope_parameters": LONG}, "'longrope'"),
        ("llama", {"hidden_act": "relu"}, "'relu'"),
        ("gpt2", {}, "'gpt2'"),
        ("gemma3n_text", {}, "'gemma3n_text'"),
        ("phi3", {"rope_parameters": LONG | {"partial_rotary_factor": 1.0}}, "'longrope'"),
        ("gemma3_text", {"rope_parameters": {"full_attention": {"rope_type": "dynamic", "factor": 2.0}}}, "'dynamic'"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "follows a token"),
        (
            "qwen2",
            {"num_hidden_layers": 2, "layer_types": ["full_attention", "chunked_attention"]},
            "'chunked_attention'",
        ),
    ],
)
def test_what_is_not_covered_is_refused_by_name(family: str, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModel, match=named) as refusal:
        family_of(AutoConfig.for_model(family, max_position_embeddings=256, **changes))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("family", "changes", "windows"),
    [
        ("llama", {"sliding_window": 64}, (None, None, None)),
        ("mistral", {"sliding_window": 64}, (64, 64, 64)),
        ("mistral", {"sliding_window": 256}, (None, None, None)),
        ("phi3", {"sliding_window": None}, (None, None, None)),
        ("qwen2", {"sliding_window": 64, "use_sliding_window": True, "max_window_layers": 1}, (None, 64, 64)),
        ("qwen3", {"sliding_window": 64, "use_sliding_window": False}, (None, None, None)),
        ("gemma2", {"sliding_window": 64}, (64, None, 64)),
        ("gemma3_text", {"sliding_window": 64, "sliding_window_pattern": 2}, (64, None, 64)),
    ],
)
def test_windows_are_those_of_the_layers_that_have_one(
    family: str, changes: dict[str, Any], windows: tuple[int | None, ...]
) -> None:
    config = AutoConfig.for_model(family, num_hidden_layers=3, max_position_embeddings=256, **changes)
    assert windows_of(config, family_of(config)) == windows


def test_every_size_is_read() -> None:
    assert Dimensions.of(SimpleNamespace(**GIVEN), LLAMA) == Dimensions(96, 6, 2, 32, 200, 11, 1e-6)


@pytest.mark.parametrize(
    ("name", "numbers"), [("gemma2", (144, 5.0, 7.0)), ("gemma3_text", (144, None, 7.0)), ("gemma", (None,) * 3)]
)
def test_numbers_that_a_model_passes_over_are_none_of_its_own(name: str, numbers: tuple[float | None, ...]) -> None:
    scales = {"query_pre_attn_scalar": 144, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 7.0}
    config = SimpleNamespace(**GIVEN, **scales, hidden_activation="gelu_pytorch_tanh")
    found = Dimensions.of(config, FAMILIES[name])
    assert (found.query_scalar, found.score_cap, found.logit_cap) == numbers
    assert found.embedding_scale == 96**0.5
    assert found.score_scale == (numbers[0] or 32) ** -0.5


def test_the_activation_is_the_one_the_family_reads() -> None:
    config = SimpleNamespace(**GIVEN | {"hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu"})
    assert Dimensions.of(config, FAMILIES["gemma"]).activation == "gelu-tanh"


def test_key_heads_and_the_width_of_heads_follow_from_the_others() -> None:
    for absent in ({}, {"num_key_value_heads": None, "head_dim": None}):
        given = {name: value for name, value in GIVEN.items() if name not in ("num_key_value_heads", "head_dim")}
        found = Dimensions.of(SimpleNamespace(**given, **absent), LLAMA)
        assert (found.kv_heads, found.head_dim) == (6, 16)


def test_a_library_config_is_understood() -> None:
    found = Dimensions.of(library_model("llama").config, LLAMA)
    assert (found.hidden, found.heads, found.kv_heads, found.head_dim, found.vocab) == (32, 4, 2, 8, 31)
