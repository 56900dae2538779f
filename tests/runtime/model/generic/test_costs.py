"""Costs count what a token's way leads through: of experts, those it goes to."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model.generic.anatomy import anatomy_of
from casspec.runtime.model.generic.costs import part_costs, sub_layer_bytes, sub_layer_weights
from casspec.runtime.model.lean.backend import LeanBackend
from casspec.runtime.model.target import TargetModel
from tests.runtime.tiny import VOCAB, library_model
from tests.runtime.tiny_families import tiny_model


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_both_backends_count_a_model_alike(family: str) -> None:
    model = library_model(family)
    generic = TargetModel(model, backend="generic").costs()
    lean = LeanBackend(model).costs()
    assert generic == {name: lean[name] for name in generic}


def test_of_experts_those_count_that_a_token_goes_through() -> None:
    model = tiny_model("mixtral")
    layers = anatomy_of(model)
    costs = part_costs(layers, model.config, [part.rows for part in layers.parts], VOCAB, torch.float32)
    one_expert, router = 3 * 32 * 48, 4 * 32
    assert costs["mlp_bytes"] == 4 * (2 * one_expert + router)
    assert costs["mlp_operations"] == 2 * (2 * one_expert + router)


def test_what_is_read_in_place_of_a_weight_counts_with_the_share_of_it() -> None:
    model = tiny_model("mixtral")
    layers = anatomy_of(model)
    weights, first = sub_layer_weights(layers, model.config), model.model.layers[0].self_attn.q_proj
    plain, other = (sub_layer_bytes(weights, 4, others) for others in ({}, {id(first): 24}))
    assert other["mlp_bytes"] == plain["mlp_bytes"]
    assert other["attention_bytes"] == plain["attention_bytes"] - (first.weight.nbytes - 24) / 4


def test_layers_of_two_shapes_count_by_their_mean() -> None:
    rows = TargetModel(tiny_model("gemma4_text")).costs()["row_bytes"]
    assert rows == 4 * (2 * 2 * 8 + 2 * 2 * 16) / 2
