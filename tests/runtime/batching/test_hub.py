"""The hub joins forwards of one plan, drafts before verifications, prompts as far as there is room."""

from __future__ import annotations

from typing import Any

import numpy as np
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


class Heard(Counted):
    """The target, and what was read of it."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[torch.Tensor] = []

    def heard(self, answers: torch.Tensor) -> np.ndarray:
        self.reads.append(answers)
        return answers.numpy()


def test_what_texts_read_of_one_forward_is_read_at_once() -> None:
    counted, said = Heard(), list[np.ndarray]()
    joint = JointTarget(TARGET)

    def reader(shapes: list[tuple[int, ...]], start: int) -> Strand:
        cache = TARGET.new_cache(64)
        inputs = InputBuffers(cache.capacity, TARGET.dtype, TARGET.device)

        def body() -> None:
            joint.forward(inputs.causal([3], 0), cache, TARGET.full_plan)
            for shape in shapes:
                n = int(np.prod(shape))
                said.append(joint.heard(torch.arange(start, start + n).view(shape)))

        strand = Strand(body)
        strand.start()
        return strand

    strands = [reader([(2, 3), (2,)], 0), reader([], 50), reader([(1, 4)], 100)]
    hub(counted).round(strands)
    assert [answers.tolist() for answers in counted.reads] == [[0, 1, 2, 3, 4, 5, 100, 101, 102, 103], [0, 1]]
    assert [numbers.tolist() for numbers in said] == [[[0, 1, 2], [3, 4, 5]], [[100, 101, 102, 103]], [0, 1]]


def test_numbers_of_another_kind_are_read_by_themselves() -> None:
    counted, said = Heard(), list[np.ndarray]()
    joint = JointTarget(TARGET)
    strands = []
    for answers in (torch.tensor([1, 2]), torch.tensor([0.5])):
        cache = TARGET.new_cache(64)
        asked = InputBuffers(cache.capacity, TARGET.dtype, TARGET.device).causal([3], 0)

        def body(answers: torch.Tensor = answers, asked: Any = asked, cache: Any = cache) -> None:
            joint.forward(asked, cache, TARGET.full_plan)
            said.append(joint.heard(answers))

        strands.append(Strand(body))
        strands[-1].start()
    hub(counted).round(strands)
    assert [answers.tolist() for answers in counted.reads] == [[1, 2], [0.5]]
    assert [numbers.tolist() for numbers in said] == [[1, 2], [0.5]]
