"""Plans: the target without some of its sub-layers, several of them over one cache and one set of weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decoding.sampling import Sampling
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import Precision, SkipSet
from tests.runtime.tiny import FAMILIES, VOCAB, library_model, repetitive_prompt, run, tiny_target

LAYERS = 4
TARGET = tiny_target(seed=11)
PLANS = [
    Plan.skipping(SkipSet(attention=(1,), mlp=(2,)), LAYERS, "light"),
    Plan.skipping(SkipSet(attention=(1, 2), mlp=(1, 2)), LAYERS, "lighter"),
    Plan.skipping(SkipSet(attention=(2,)), LAYERS, "attentive"),
]
if TARGET.refusal(Precision.INT8_DYNAMIC) is None:
    PLANS += [
        Plan.skipping(SkipSet(), LAYERS, precision=Precision.INT8_DYNAMIC),
        Plan.skipping(SkipSet(mlp=(1,)), LAYERS, precision=Precision.INT8_DYNAMIC),
    ]


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


# ------------------------------------------------------------------------------------------------- drafting in a tree


def sequence_over(target: TargetModel, prompt: list[int]) -> Sequence:
    return Sequence(target, target.new_cache(128), prompt, Sampling(), None, ForwardClock(target.device))


def fresh_logits(prompt: list[int], path: list[int], plan: Plan) -> torch.Tensor:
    """After the last token of `path`: the target's rows for the prompt but its last token, the plan's own from there on."""
    cache = TARGET.new_cache(128)
    if prompt[:-1]:
        run(TARGET, cache, prompt[:-1])
    return run(TARGET, cache, path, len(prompt) - 1, plan)[-1]


@torch.inference_mode()
@settings(max_examples=30)
@given(
    st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from(PLANS), st.integers(0, 3)), min_size=1, max_size=14),
)
def test_interleaved_plans_and_branches_draft_as_each_alone(prompt: list[int], steps) -> None:
    sequence, tree = sequence_over(TARGET, prompt), CandidateTree(prompt[-1])
    for pick, plan, token in steps:
        node = pick % len(tree)
        logits = sequence.draft(plan, tree, [node])[0]
        torch.testing.assert_close(logits, fresh_logits(prompt, tree.path_tokens(node), plan), atol=1e-4, rtol=1e-4)
        tree.add(node, token)
    verified = sequence.verify(tree)
    for node in range(len(tree)):
        expected = fresh_logits(prompt, tree.path_tokens(node), TARGET.full_plan)
        torch.testing.assert_close(verified.logits[node], expected, atol=1e-4, rtol=1e-4)
        assert verified.token_after(node) == int(expected.argmax())


@torch.inference_mode()
def test_drafts_after_a_commit_start_from_the_targets_rows() -> None:
    prompt = repetitive_prompt(9)
    sequence, tree = sequence_over(TARGET, prompt), CandidateTree(prompt[-1])
    for token in (3, 5):
        sequence.draft(PLANS[0], tree, [tree.add(0, token)])
    path = [0, 2]  # the second branch is accepted, then 7 follows as bonus
    sequence.verify(tree)
    sequence.commit(path, [5, 7])
    assert sequence.tokens == [*prompt, 5, 7]
    assert sequence.committed == len(prompt) + 1
    after = CandidateTree(7)
    logits = sequence.draft(PLANS[0], after, [after.add(0, 4)])[0]
    torch.testing.assert_close(logits, fresh_logits(sequence.tokens, [7, 4], PLANS[0]), atol=1e-4, rtol=1e-4)
