"""The generic backend computes what the lean one does, with any plan, part by part, and over batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.native import processor
from casspec.storage.errors import UnsupportedModel, UnsupportedOption
from casspec.storage.schema import Precision, SkipSet
from tests.runtime.tiny import causal, first_rows, library_model, masked_input, run
from tests.runtime.tiny_families import tiny_model

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]
SKIPS = [SkipSet(), SkipSet(attention=(1,)), SkipSet(mlp=(0, 3)), SkipSet(attention=(1, 2), mlp=(2, 3))]


def both(family: str = "llama") -> tuple[TargetModel, TargetModel]:
    return TargetModel(library_model(family), backend="generic"), TargetModel(library_model(family), backend="lean")


@pytest.mark.parametrize("skip", SKIPS, ids=["full", "attention", "mlp", "layer"])
def test_a_plan_says_what_it_says_on_the_lean_backend(skip: SkipSet) -> None:
    logits = []
    for target in both("qwen3"):
        plan = Plan.skipping(skip, target.n_layers)
        cache = target.new_cache(64)
        run(target, cache, TOKENS[:5], plan=plan)
        logits.append(run(target, cache, TOKENS[5:], 5, plan))
    torch.testing.assert_close(*logits, atol=1e-4, rtol=1e-4)


def test_the_parts_of_a_forward_give_the_whole() -> None:
    for name in ("llama", "gpt2", "cohere", "gemma3_text", "deepseek_v2"):
        target = TargetModel(tiny_model(name), backend="generic")
        cache, other = target.new_cache(64), target.new_cache(64)
        inputs = masked_input(target, cache, [TOKENS], [list(range(8))], [list(range(8))], [causal(8)])
        whole = target.forward(inputs, cache, target.full_plan)
        frame, x = target.frame(inputs, other), target.embed(inputs)
        x = target.advanced(x, frame, target.full_plan.steps)
        torch.testing.assert_close(target.read(target.normalised(x)), whole, atol=1e-4, rtol=1e-4, msg=name)
        torch.testing.assert_close(first_rows(other, 8), first_rows(cache, 8))


def test_sub_layers_one_after_the_other_are_the_layer_where_blocks_are_serial() -> None:
    generic, lean = both()
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(1))
    step = ((2, False, True),)
    torch.testing.assert_close(generic.advanced(x, None, step), lean.advanced(x, None, step), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt_oss", "mixtral", "gemma4_text", "deepseek_v3"])
def test_sequences_side_by_side_are_what_each_is_alone(name: str) -> None:
    target = TargetModel(tiny_model(name), backend="generic")
    texts = [TOKENS * 2, list(reversed(TOKENS))]
    cache = target.new_cache(64, batch=2)
    places = [list(range(len(text))) for text in texts]
    inputs = masked_input(target, cache, texts, places, places, [causal(len(text)) for text in texts])
    size = inputs.token_ids.shape[1]
    logits = target.forward(inputs, cache, target.full_plan)
    for index, text in enumerate(texts):
        alone = run(target, target.new_cache(64), text)
        torch.testing.assert_close(logits[index * size : index * size + len(text)], alone, atol=1e-4, rtol=1e-4)


def test_windows_go_by_positions_whatever_slots_a_tree_stands_in() -> None:
    target = TargetModel(tiny_model("mistral"), backend="generic")
    prompt, branch, other = TOKENS * 2, [7, 8, 9], [1, 2, 3]
    straight = run(target, target.new_cache(64), prompt + branch)[-3:]
    cache, n = target.new_cache(64), len(prompt)
    run(target, cache, prompt)
    visible = np.zeros((6, n + 6), bool)
    visible[:, :n] = True
    visible[:3, n : n + 3] = np.tri(3, dtype=bool)
    visible[3:, n + 3 :] = np.tri(3, dtype=bool)
    depths = [n, n + 1, n + 2]
    inputs = masked_input(target, cache, [other + branch], [depths * 2], [list(range(n, n + 6))], [visible])
    torch.testing.assert_close(target.forward(inputs, cache, target.full_plan)[3:6], straight, atol=1e-4, rtol=1e-4)


def test_kernels_of_few_bits_are_refused_where_weights_are_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    target = both()[0]
    assert str(target.refusal(Precision.INT8_DYNAMIC)).endswith(
        "for packed weights alone, and here they are not packed"
    )
    with pytest.raises(UnsupportedOption, match="int8-dynamic cannot run here"):
        target.prepare(Precision.INT8_DYNAMIC)
    assert target.extra_bytes(Precision.TARGET) == target.extra_bytes(Precision.INT8_DYNAMIC) == 0
    assert not any(":" in name for name in target.costs())
    monkeypatch.setattr(processor, "refusal", lambda: "no such processor")
    assert str(target.refusal(Precision.INT8_DYNAMIC)).endswith("no such processor")


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "mixtral"])
def test_packed_later_it_says_the_same_and_plans_too(name: str) -> None:
    target = TargetModel(tiny_model(name), backend="generic")
    plans = [Plan.skipping(skip, target.n_layers) for skip in SKIPS]
    expected = [run(target, target.new_cache(64), TOKENS, plan=plan) for plan in plans]
    costs = target.costs()
    assert not target.is_native
    target.pack(release=True)
    assert target.is_native
    for plan, logits in zip(plans, expected, strict=True):
        torch.testing.assert_close(run(target, target.new_cache(64), TOKENS, plan=plan), logits, atol=1e-4, rtol=1e-4)
    assert costs.items() <= target.costs().items()
    assert target.tree_errors().are_small


def test_where_native_code_cannot_run_the_librarys_linears_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "refusal", lambda: "no such processor")
    target = TargetModel(tiny_model("mixtral"), pack=True, owned=True)
    assert not target.is_native
    assert all(weight.numel() for weight in target.library_model.parameters())


def test_the_lean_backend_is_taken_where_it_covers_the_model() -> None:
    assert TargetModel(library_model()).backend == "lean"
    assert TargetModel(tiny_model("olmo2")).backend == "generic"
    with pytest.raises(UnsupportedModel, match=r"lean backend does not cover this model: .*use backend auto"):
        TargetModel(tiny_model("olmo2"), backend="lean")


def test_a_family_outside_the_tests_is_experimental() -> None:
    target = TargetModel(tiny_model("olmo2"))
    assert not target.is_experimental
    target.family = "olmo99"
    assert target.is_experimental


def test_the_librarys_layers_are_not_captured() -> None:
    target = TargetModel(tiny_model("olmo2"))
    target.reserve_caches(1 << 20)
    with target.captured(False):
        assert target.forwards is None
    assert "generic backend" in str(target.graphs_refusal)
