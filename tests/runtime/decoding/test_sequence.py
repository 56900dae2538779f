"""Plans draft in one tree over one cache; replaying committed tokens touches none of the target's rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.sampling import Sampling
from casspec.storage.schema import Precision, SkipSet
from tests.runtime.tiny import VOCAB, first_rows, repetitive_prompt, run, tiny_target

TARGET = tiny_target(seed=7)
LAYERS = TARGET.n_layers
SPARSE = Plan.skipping(SkipSet(attention=(1,), mlp=(2,)), LAYERS)
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


@torch.inference_mode()
def sequence_of(tokens: list[int], sampling: Sampling, seed: int = 0) -> Sequence:
    noise = None if sampling.greedy else GumbelNoise(seed, TARGET.vocab_size)
    return Sequence(TARGET, TARGET.new_cache(256), tokens, sampling, noise, ForwardClock(TARGET.device))


@torch.inference_mode()
@pytest.mark.parametrize(("n_tokens", "copies"), [(1, 1), (9, 1), (39, 1), (4, 3)])
def test_a_replay_sees_the_targets_rows_before_and_its_own(n_tokens: int, copies: int) -> None:
    tokens = repetitive_prompt(40)
    sequence = sequence_of(tokens, Sampling())
    rows = first_rows(sequence.cache, 39)
    logits = TARGET.forward(sequence.replay(n_tokens, copies), sequence.cache, SPARSE)[: n_tokens * copies]
    torch.testing.assert_close(first_rows(sequence.cache, 39), rows, atol=0, rtol=0)

    cache, start = TARGET.new_cache(64), 39 - n_tokens
    if start:
        run(TARGET, cache, tokens[:start])
    expected = run(TARGET, cache, tokens[start:39], start, SPARSE)
    torch.testing.assert_close(logits, expected.repeat(copies, 1), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, top_k=6)], ids=str)
def test_the_target_itself_matches_every_token_it_emitted(sampling: Sampling) -> None:
    prompt = repetitive_prompt(20)
    request: dict[str, Any] = {"temperature": sampling.temperature, "top_k": sampling.top_k, "seed": 3}
    text = prompt + Decoder(TARGET, method="autoregressive").generate(prompt, 24, **request).token_ids
    sequence = sequence_of(text, sampling, seed=3)
    assert sequence.matches(TARGET.full_plan, 24) == 24
    assert sequence.matches(SPARSE, 24) < 24
    text[-5] = (text[-5] + 1) % TARGET.vocab_size
    assert sequence_of(text, sampling, seed=3).matches(TARGET.full_plan, 24) < 24


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
