"""KnapSpec on the model: every way computes what its plan computes, and the choice follows the costs."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.drafters.knapsack import most_similar_ways
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies.knapspec import KnapSpec, full_trajectory, replaying
from casspec.runtime.text.sampling import Sampling
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import SkipSet
from tests.runtime.tiny import first_rows, library_model, repetitive_prompt, tiny_target

TARGET = tiny_target(seed=7, num_hidden_layers=6)


@torch.inference_mode()
def sequence_of(tokens: list[int], target: TargetModel = TARGET) -> Sequence:
    return Sequence(target, target.new_cache(256), tokens, Sampling(), None, ForwardClock(target.device))


@torch.inference_mode()
@pytest.mark.parametrize("n_tokens", [1, 5, 30])
def test_every_way_computes_what_its_plan_computes(n_tokens: int) -> None:
    sequence = sequence_of(repetitive_prompt(40))
    committed = first_rows(sequence.cache, 39)
    trajectory = full_trajectory(TARGET, sequence, n_tokens)
    weights = [0, 0, *[1, 2] * 4, 0, 0]
    ways = most_similar_ways(trajectory, replaying(TARGET, sequence, n_tokens), weights, 8, -1.0)
    torch.testing.assert_close(first_rows(sequence.cache, 39), committed, atol=0, rtol=0)
    assert len(ways) == 9
    for way in ways:
        skip = SkipSet(
            attention=tuple(place // 2 for place in way.skipped if place % 2 == 0),
            mlp=tuple(place // 2 for place in way.skipped if place % 2),
        )
        plan = Plan.skipping(skip, TARGET.n_layers)
        expected = TARGET.hidden(sequence.replay(n_tokens), sequence.cache, plan)[:n_tokens]
        torch.testing.assert_close(TARGET.normalised(way.hidden), expected, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_what_costs_more_at_this_context_is_skipped_first() -> None:
    model = library_model(seed=7, num_hidden_layers=6)
    for layer in model.model.layers[1:-1]:  # hardly missed, so that cost alone decides
        layer.self_attn.o_proj.weight.mul_(0.01)
        layer.mlp.down_proj.weight.mul_(0.01)
    target = TargetModel(model, pack=True)

    def forward_ms(plan: Plan, n_tokens: int, context: int) -> float:
        return 1.0 + plan.n_attention * (10.0 if context > 30 else 0.1) + plan.n_mlp

    def chosen(prompt_length: int) -> Plan:
        policy = KnapSpec(target, forward_ms, budget=0.3)
        sequence = sequence_of(repetitive_prompt(prompt_length), target)
        policy.begin(sequence)
        policy.draft(sequence, 4)
        assert policy._drafting is not None
        return policy._drafting

    long, short = chosen(60), chosen(20)
    assert (long.n_attention, long.n_mlp) == (4, 6)
    assert (short.n_attention, short.n_mlp) == (6, 4)


def test_the_skip_set_is_chosen_anew_after_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[int] = []
    choose = KnapSpec._choose

    def counted(self: KnapSpec, sequence: Sequence) -> Plan | None:
        chosen.append(sequence.committed)
        return choose(self, sequence)

    monkeypatch.setattr(KnapSpec, "_choose", counted)
    steps = Decoder(TARGET, None, "knapspec", {"refresh_steps": 5}).generate([3], 60).statistics.verify_steps
    # With one token in the prompt nothing is committed at first; the last step has nothing left to draft.
    assert len(chosen) in (-(-(steps - 1) // 5), -(-(steps - 2) // 5))
    assert chosen[0] == 1


def test_a_window_that_cannot_be_replayed_is_refused() -> None:
    with pytest.raises(UnsupportedOption, match="window=0"):
        KnapSpec(TARGET, lambda plan, n_tokens, context: 1.0, window=0)
