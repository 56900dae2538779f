"""The hub joins forwards of one plan, drafts before verifications, prompts as far as there is room."""

from __future__ import annotations

from typing import Any

import torch

from casspec.runtime.batching.costs import BatchCosts
from casspec.runtime.batching.hub import Hub, JointTarget, Strand
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import SkipSet
from tests.runtime.tiny import run, tiny_target

TARGET = tiny_target()
DRAFT = Plan.skipping(SkipSet(mlp=(1,)), TARGET.n_layers)


class Counted:
    """The target, and how many sequences its joint forwards had, by plan."""

    def __init__(self) -> None:
        self.forwards: list[tuple[str, int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(TARGET, name)

    def joint_forward(self, inputs: Any, plan: Plan, wanted: Any = None) -> torch.Tensor:
        self.forwards.append((plan.name, len(inputs.parts), inputs.n_rows))
        return TARGET.joint_forward(inputs, plan, wanted)


def text(prompt: list[int], plans: list[Plan], said: list[torch.Tensor], fills: bool = False) -> Strand:
    """Asks for a forward over its last token with each plan in turn."""
    joint, cache = JointTarget(TARGET), TARGET.new_cache(64)
    inputs = InputBuffers(cache.capacity, TARGET.dtype, TARGET.device)
    n = len(prompt) - 1
    if n:
        run(TARGET, cache, prompt[:-1])

    def body() -> None:
        for plan in plans:
            if fills:
                said.append(joint.fill(inputs.causal(prompt, 0), cache, plan, []))
            else:
                said.append(joint.forward(inputs.causal(prompt[-1:], n), cache, plan))

    strand = Strand(body)
    strand.start()
    return strand


def hub(target: Any, prefill_rows: int = 8) -> Hub:
    return Hub(target, BatchCosts(LatencyPredictor(builtin_latency(TARGET)), TARGET.full_plan), prefill_rows)


def test_drafts_of_one_plan_are_one_forward_and_come_before_the_targets() -> None:
    counted, said = Counted(), list[torch.Tensor]()
    full = TARGET.full_plan
    strands = [text([1, 2, 3], [DRAFT, full], said), text([4, 5], [full], said), text([6], [DRAFT, DRAFT, full], said)]
    hub(counted).round(strands)
    assert counted.forwards == [(DRAFT.name, 2, 2), (DRAFT.name, 1, 1), ("target", 3, 3)]
    assert all(strand.ask is None for strand in strands)
    expected = run(TARGET, TARGET.new_cache(64), [4, 5])[-1:]
    assert any(torch.allclose(logits, expected, atol=1e-5) for logits in said)


def test_prompts_take_the_room_there_is_and_the_first_always_has_some() -> None:
    counted, said = Counted(), list[torch.Tensor]()
    full = TARGET.full_plan
    strands = [text([1] * n, [full], said, fills=True) for n in (12, 3, 2)] + [text([7], [full], said)]
    joined = hub(counted)
    joined.round(strands)
    assert counted.forwards == [("target", 2, 13)]
    joined.round(strands)
    assert counted.forwards[1] == ("target", 2, 5)
    assert [len(logits) for logits in said] == [0, 1, 0, 0]


def test_a_stopped_text_asks_for_nothing_more() -> None:
    said = list[torch.Tensor]()
    strand = text([1, 2], [TARGET.full_plan] * 3, said)
    strand.stop()
    strand.stop()
    assert strand.ask is None
    hub(Counted()).round([strand])
    assert said == []
