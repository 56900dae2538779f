"""Sizes come from a config, also where it leaves some of them to others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from casspec.runtime.model.dimensions import Dimensions
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
