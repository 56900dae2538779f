"""Plans: the target without some of its sub-layers, over one set of weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import Precision, SkipSet
from tests.runtime.tiny import FAMILIES, library_model, repetitive_prompt, run

LAYERS = 4


def remove_sublayers(model: Any, skip: SkipSet) -> None:
    """The library's model with these sub-layers adding nothing to the residual stream."""
    for layer in skip.attention:
        model.model.layers[layer].self_attn.register_forward_hook(
            lambda module, inputs, output: (torch.zeros_like(output[0]), *output[1:])
        )
    for layer in skip.mlp:
        model.model.layers[layer].mlp.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "skip",
    [
        SkipSet(attention=(1,)),
        SkipSet(mlp=(0, 3)),
        SkipSet(attention=(1, 2), mlp=(2,)),
        SkipSet(attention=(0, 1, 2, 3), mlp=(0, 1, 2, 3)),
    ],
    ids=str,
)
def test_a_plan_is_the_model_without_those_sublayers(family: str, skip: SkipSet) -> None:
    model = library_model(family, seed=5)
    target = TargetModel(model)
    plan = Plan.skipping(skip, LAYERS)
    tokens = repetitive_prompt(30)
    cache = target.new_cache(len(tokens))
    logits = torch.cat([run(target, cache, tokens[:21], 0, plan), run(target, cache, tokens[21:], 21, plan)])
    remove_sublayers(model, skip)
    torch.testing.assert_close(logits, model(torch.tensor([tokens])).logits[0], atol=1e-4, rtol=1e-4)


def test_a_plan_counts_what_runs_and_names_itself_by_content() -> None:
    plan = Plan.skipping(SkipSet(attention=(0, 2), mlp=(2,)), LAYERS)
    assert (plan.n_attention, plan.n_mlp) == (2, 3)
    assert [layer for layer, _, _ in plan.steps] == [0, 1, 3]
    assert plan == Plan.skipping(SkipSet(attention=(2, 0, 2), mlp=(2,)), LAYERS)
    assert plan.name != Plan.skipping(SkipSet(attention=(0, 2)), LAYERS).name
    assert Plan.full(LAYERS).n_attention == Plan.full(LAYERS).n_mlp == LAYERS


def test_a_plan_says_its_precision_in_its_name() -> None:
    skip = SkipSet(attention=(0, 2), mlp=(2,))
    sparse = Plan.skipping(skip, LAYERS)
    assert Plan.skipping(SkipSet(), LAYERS, precision=Precision.INT8_DYNAMIC).name == "int8"
    assert Plan.skipping(skip, LAYERS, precision=Precision.INT4_WEIGHT).name == f"int4-{sparse.name}"
    assert Plan.skipping(skip, LAYERS, "mine", Precision.INT8_DYNAMIC).name == "mine"


def test_layers_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match=r"mlp layers \[4\]"):
        Plan.skipping(SkipSet(mlp=(4,)), LAYERS)
