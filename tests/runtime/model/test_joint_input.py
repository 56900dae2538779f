"""A forward over rows of several sequences gives each what it gets alone, whatever runs it, and writes each one's cache."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from casspec.runtime.model.joint_input import JointInput, JointPart
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import SkipSet
from tests.runtime.tiny import VOCAB, causal, first_rows, library_model, masked_input, run
from tests.runtime.tiny_families import tiny_model

MODELS: dict[str, Callable[[], TargetModel]] = {
    "native": lambda: TargetModel(library_model("qwen3"), pack=True),
    "eager": lambda: TargetModel(library_model("qwen3")),
    "native-window": lambda: TargetModel(library_model("mistral", sliding_window=9), pack=True),
    "eager-gemma2": lambda: TargetModel(library_model("gemma2", sliding_window=9)),
    "generic": lambda: TargetModel(tiny_model("gpt_oss")),
    "generic-latent": lambda: TargetModel(tiny_model("deepseek_v3")),
    "generic-sizes": lambda: TargetModel(tiny_model("gemma4_text")),
}


def texts(n: int) -> list[list[int]]:
    dice = torch.Generator().manual_seed(n)
    return [torch.randint(VOCAB, (length,), generator=dice).tolist() for length in (5, 70, 1, 23)[:n]]


def tree_part(target: TargetModel, prompt: list[int]) -> tuple[JointPart, Any]:
    """A prompt that is written, and a tree of two branches after it; the same inputs over a cache of their own."""
    tree, n = [7, 8, 9, 3, 4], len(prompt)
    visible = np.ones((5, n + 5), bool)
    visible[:, n:] = np.tri(5, dtype=bool)
    visible[3:, n + 1 : n + 3] = False
    depths = [n, n + 1, n + 2, n + 1, n + 2]
    parts = []
    for _ in range(2):
        cache = target.new_cache(n + 8)
        run(target, cache, prompt)
        inputs = masked_input(target, cache, [tree], [depths], [list(range(n, n + 5))], [visible])
        parts.append(JointPart(inputs, cache, 5))
    return parts[0], parts[1]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("skip", [SkipSet(), SkipSet(attention=(1,), mlp=(2,))], ids=["full", "plan"])
def test_each_sequence_gets_what_it_gets_alone(name: str, skip: SkipSet) -> None:
    target = MODELS[name]()
    plan = Plan.skipping(skip, target.n_layers)
    joint, alone = list[JointPart](), list[JointPart]()
    for text in texts(4):
        one, other = tree_part(target, text)
        joint.append(one)
        alone.append(other)
    logits = target.joint_forward(JointInput(joint), plan)
    assert len(logits) == 20
    for index, (part, own) in enumerate(zip(joint, alone, strict=True)):
        expected = target.forward(own.inputs, own.cache, plan)[:5]
        torch.testing.assert_close(logits[5 * index : 5 * index + 5], expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(first_rows(part.cache, 5), first_rows(own.cache, 5), atol=1e-4, rtol=1e-4)
        n = len(texts(4)[index])
        written, same = first_rows(part.cache, n + 5), first_rows(own.cache, n + 5)
        torch.testing.assert_close(written, same, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["native", "native-window"])
def test_on_a_processor_the_bits_are_those_of_a_forward_alone(name: str) -> None:
    target = MODELS[name]()
    pairs = [tree_part(target, text) for text in texts(3)]
    logits = target.joint_forward(JointInput([one for one, _ in pairs]), target.full_plan)
    for index, (_, own) in enumerate(pairs):
        assert torch.equal(
            logits[5 * index : 5 * index + 5], target.forward(own.inputs, own.cache, target.full_plan)[:5]
        )


@pytest.mark.parametrize("name", MODELS)
def test_rows_are_ragged_and_those_wanted_alone_are_read(name: str) -> None:
    target = MODELS[name]()
    one, other = texts(2)
    parts = []
    for text, n in ((one, 3), (other, 1)):
        cache = target.new_cache(len(text) + 4)
        run(target, cache, text)
        places = list(range(len(text), len(text) + n))
        inputs = masked_input(target, cache, [[5] * n], [places], [places], [causal(n, len(text))])
        parts.append(JointPart(inputs, cache, n))
    joint = JointInput(parts)
    assert (joint.n_rows, joint.numbers().shape) == (4, (3, 4))
    assert joint.length == parts[1].inputs.length
    whole = target.joint_forward(joint, target.full_plan)
    wanted = torch.tensor([2, 3])
    torch.testing.assert_close(target.joint_forward(joint, target.full_plan, wanted), whole[wanted])
    expected = run(target, target.new_cache(len(other) + 1), [*other, 5])[-1]
    torch.testing.assert_close(whole[3], expected, atol=1e-4, rtol=1e-4)
