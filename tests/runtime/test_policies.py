"""Methods by name: what builds one, and what is refused before anything is drafted."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import UnsupportedOption
from tests.runtime.tiny import tiny_target


@cache
def target_of(family: str = "llama") -> TargetModel:
    return tiny_target(family, seed=7, attention_bias=family == "llama")


@pytest.mark.parametrize(
    ("method", "parameters", "named"),
    [
        ("magic", None, r"'magic'.*autoregressive, .*dytc"),
        ("prompt-lookup", {"n_nodes": 3}, "'prompt-lookup' has no parameter n_nodes"),
        ("autoregressive", {"n_tokens": 3}, "has no parameter n_tokens"),
        ("dytc", {"matrix": None}, "has no parameter matrix"),  # an ingredient, not a setting
        ("layer-sparse", {"plan": None}, "has no parameter plan"),
        ("dytc", {"max_nodes": 0}, "max_nodes=0"),
        ("token-recycling", {"n_nodes": 500}, "n_nodes=500"),
        ("suffix", {"max_match": 0}, "max_match of method 'suffix' takes numbers from 1 on, not 0"),
        ("layer-sparse", {"n_tokens": -1}, "n_tokens of method 'layer-sparse' takes numbers from 0 on, not -1"),
        ("sequoia", {"width": 10**9}, "width of method 'sequoia' takes numbers to 127"),
        ("knapspec", {"n_tokens": 128}, "n_tokens of method 'knapspec' takes numbers to 127"),
        ("vertical", {"lenience": float("nan")}, "lenience .* not nan"),
        ("swift", {"skip_ratio": float("inf")}, "skip_ratio .* not inf"),
    ],
)
def test_unknown_methods_and_parameters_are_refused_by_name(
    method: str, parameters: dict[str, Any] | None, named: str
) -> None:
    with pytest.raises(UnsupportedOption, match=named) as refusal:
        Decoder(target_of(), method=method, parameters=parameters)
    assert "\n" not in str(refusal.value)
