"""Quantised plans over a library model: close to its own, counted to the byte, and gone when they are released."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.model.lean import quantization
from casspec.runtime.model.lean.tiled_kernels import Int8Native
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.native import processor
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision, SkipSet
from tests.runtime.tiny import greedy, repetitive_prompt, run, tiny_profile
from tests.runtime.tiny_families import tiny_model

INT8, INT4 = Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]
WIDE = {"hidden_size": 64, "intermediate_size": 96}
NAMES = ["llama", "gemma3_text", "phi", "cohere"]

pytestmark = pytest.mark.skipif(not processor.has_byte_products(), reason="no 8-bit dot product")


def packed_target(name: str, dtype: torch.dtype = torch.float32, **changes: Any) -> TargetModel:
    return TargetModel(tiny_model(name, **WIDE | changes).to(dtype), pack=True, backend="generic")


@pytest.mark.parametrize(
    ("name", "precision"), [*((name, precision) for name in NAMES for precision in (INT8, INT4)), ("mixtral", INT8)]
)
def test_plans_of_few_bits_say_nearly_what_the_model_says(name: str, precision: Precision) -> None:
    target = packed_target(name)
    assert target.refusal(precision) is None
    plan = Plan.skipping(SkipSet(), target.n_layers, precision=precision)
    expected = run(target, target.new_cache(64), TOKENS)
    found = run(target, target.new_cache(64), TOKENS, plan=plan)
    assert 0 < (found - expected).norm() < 0.5 * expected.norm()
    assert torch.equal(run(target, target.new_cache(64), TOKENS), expected), "the target's own is as it was"


def test_sub_layers_are_left_out_of_quantised_plans_too() -> None:
    target, skip = packed_target("llama"), SkipSet(attention=(1,), mlp=(2, 3))
    own, quantised = (
        run(target, target.new_cache(64), TOKENS, plan=Plan.skipping(skip, target.n_layers, precision=precision))
        for precision in (Precision.TARGET, INT8)
    )
    full = run(target, target.new_cache(64), TOKENS)
    assert 0 < (quantised - own).norm() < 0.2 * (full - own).norm()


@pytest.mark.parametrize("precision", [INT8, INT4])
@pytest.mark.parametrize("tied", [False, True])
def test_what_is_packed_is_what_was_told(precision: Precision, tied: bool) -> None:
    target = packed_target("llama", torch.bfloat16, tie_word_embeddings=tied, num_key_value_heads=4)
    quantised = target._backend._quantised  # type: ignore[attr-defined]
    stand_ins = quantised.stand_ins(precision)
    held = {id(linear.packed): linear.packed.values.nbytes for linear in stand_ins.values()}
    assert len(stand_ins) == 4 * 7 + 1
    assert sum(held.values()) == target.extra_bytes(precision)
    costs = target.costs()
    parts = 4 * (costs[f"{precision}:attention_bytes"] + costs[f"{precision}:mlp_bytes"])
    assert parts + costs[f"{precision}:head_bytes"] == target.extra_bytes(precision)


def test_what_four_bits_do_not_divide_has_eight_and_the_head_too() -> None:
    target = packed_target("llama", intermediate_size=80)
    quantised = target._backend._quantised  # type: ignore[attr-defined]
    chosen = quantised._chosen[INT4]
    model = target.library_model
    kinds = {name: type(chosen[id(module)].kernel) for name, module in model.named_modules() if id(module) in chosen}
    assert {name for name, kind in kinds.items() if kind is Int8Native} == {
        "lm_head",
        *(f"model.layers.{index}.mlp.down_proj" for index in range(4)),
    }


def test_packed_weights_are_released() -> None:
    target = packed_target("llama")
    target.prepare(INT8)
    assert target.is_prepared(INT8)
    target.release(INT8)
    target.release(Precision.TARGET)
    assert not target.is_prepared(INT8)
    assert target.is_prepared(Precision.TARGET)


def test_refusals_name_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    target = packed_target("llama")
    monkeypatch.setattr(quantization, "free_bytes", lambda _: 2**10)
    assert "MiB more" in str(target.refusal(INT8))
    target.prepare(Precision.TARGET)
    monkeypatch.setattr(processor, "has_byte_products", lambda: False)
    with pytest.raises(UnsupportedOption, match=r"int4-weight cannot run here: .*AVX512-VNNI"):
        target.prepare(INT4)


def test_a_model_without_a_linear_that_would_be_smaller_is_refused() -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 4, "num_attention_heads": 1, "num_key_value_heads": 1}
    target = packed_target("llama", **sizes)
    assert target.refusal(INT4) == "no linear of this model is served by kernels of int4-weight"


@pytest.mark.parametrize("name", ["mixtral", "gemma4_text"])
def test_a_quantised_drafter_writes_the_text_of_plain_decoding(name: str) -> None:
    target, prompt = TargetModel(tiny_model(name), pack=True, owned=True), repetitive_prompt(24, seed=3)
    decoder = Decoder(target, method="quantised", profile=tiny_profile(target))
    generation = decoder.generate(prompt, max_new_tokens=32)
    assert generation.token_ids == greedy(target, prompt, 32)
