"""Quantised plans: near the target, row by row, in known memory, over weights that other precisions keep using."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.model.lean import quantization
from casspec.runtime.model.lean.quantization import LINEARS, extra_bytes
from casspec.runtime.model.lean.tiled_kernels import TiledWeight
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.native import processor
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision, SkipSet
from tests.runtime.tiny import FAMILIES, library_model, repetitive_prompt, run, tiny_profile, tiny_target

INT8, INT4 = Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT
WIDE: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 192,
    "head_dim": 32,
    "vocab_size": 128,
    "initializer_range": 0.05,
}
"""Sizes that the 4-bit kernel takes, and the tiles of the 8-bit one."""
LARGEST_ERROR = {INT8: 0.02, INT4: 0.15}
"""Of the norm of what a linear gives, for Gaussian weights and rows."""

needs_int8 = pytest.mark.skipif(
    tiny_target().refusal(INT8) is not None, reason="this processor has no 8-bit dot product"
)
PRECISIONS = [pytest.param(INT8, marks=needs_int8), INT4]


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected.float()).norm() / expected.float().norm())


def wide_target(family: str = "llama", dtype: torch.dtype = torch.float32, pack: bool = True) -> TargetModel:
    softer = (
        {"query_pre_attn_scalar": 512} if family == "gemma3_text" else {}
    )  # normed heads of this width are too sure of one row
    return TargetModel(library_model(family, **WIDE | softer).to(dtype), pack=pack)


@torch.inference_mode()
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_quantised_plan_says_nearly_what_the_plan_says(family: str, precision: Precision) -> None:
    target, tokens = wide_target(family), repetitive_prompt(30)
    for skip in (SkipSet(), SkipSet(attention=(1,), mlp=(0, 2))):
        plan = Plan.skipping(skip, target.n_layers)
        quantised = Plan.skipping(skip, target.n_layers, precision=precision)
        expected, found = (run(target, target.new_cache(64), tokens, plan=each) for each in (plan, quantised))
        error = relative_error(found, expected)
        assert 0 < error < 4 * LARGEST_ERROR[precision]


@torch.inference_mode()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_target_is_untouched_by_quantised_plans(precision: Precision) -> None:
    target, tokens = wide_target(), repetitive_prompt(20)
    before = run(target, target.new_cache(64), tokens)
    cache = target.new_cache(64)
    run(target, cache, tokens, plan=Plan.skipping(SkipSet(), target.n_layers, precision=precision))
    assert cache.dtype == target.dtype
    assert torch.equal(run(target, cache, tokens), before)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("pack", [False, True], ids=["plain", "packed"])
def test_memory_is_what_was_said_before(precision: Precision, dtype: torch.dtype, pack: bool) -> None:
    target = wide_target(dtype=dtype, pack=pack)
    expected = extra_bytes(target.lean.weights, precision)
    assert not target.is_prepared(precision)
    target.prepare(precision)
    weights = target.lean._weights[precision]
    packed = [getattr(layer, name) for layer, name in product(weights.layers, LINEARS)]
    packed += [weights.head] if weights.head is not target.lean.weights.head else []
    tensors = [
        tensor for weight in packed for tensor in ([weight.values] if isinstance(weight, TiledWeight) else weight)
    ]
    assert sum(map(n_bytes, tensors)) == expected


def n_bytes(tensor: torch.Tensor) -> int:
    return torch.ops.mkldnn._nbytes(tensor) if tensor.layout == torch._mkldnn else tensor.nbytes


def test_plans_of_one_precision_share_its_weights() -> None:
    target = wide_target()
    forwards = []
    for skip in (SkipSet(), SkipSet(mlp=(1,))):
        run(target, target.new_cache(64), [1], plan=Plan.skipping(skip, target.n_layers, precision=INT4))
        forwards.append(target.lean._forwards[INT4])
    assert forwards[0] is forwards[1]


@needs_int8
@pytest.mark.parametrize(("method", "parameters"), [("dytc", {}), ("vertical", {"drafter": "low-bit"})])
def test_no_request_waits_for_weights_to_be_packed(method: str, parameters: dict[str, str]) -> None:
    target = tiny_target()
    profile = tiny_profile(target)
    Decoder(target, profile, "prompt-lookup")
    assert not target.is_prepared(INT8), "whoever needs them not does not pay for them"
    Decoder(target, profile, method, parameters)
    assert target.is_prepared(INT8)


def test_shapes_that_no_kernel_takes_are_refused_by_their_sizes() -> None:
    target = tiny_target(pack=False)
    assert "48 inputs" in (target.refusal(INT4) or "")
    with pytest.raises(UnsupportedOption, match=r"int4-weight cannot run here: .* 48 inputs"):
        target.prepare(INT4)


def test_processors_without_8_bit_products_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_vnni_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False)
    target = wide_target(pack=False)
    assert "dot product" in (target.refusal(INT8) or "")
    assert target.refusal(INT4) is None
    target.prepare(INT4)
    assert target.lean._weights[INT4].head is target.lean.weights.head
    monkeypatch.setattr(processor, "has_byte_products", lambda: False)
    packed = wide_target()
    assert all("dot product" in (packed.refusal(precision) or "") for precision in (INT8, INT4))


def test_weights_that_do_not_fit_are_refused_until_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    target = wide_target()
    with monkeypatch.context() as patch:
        patch.setattr(quantization, "free_bytes", lambda device: 1000)
        assert "MiB are free" in (target.refusal(INT4) or "")
    target.prepare(INT4)
    monkeypatch.setattr(quantization, "free_bytes", lambda device: 1000)
    assert target.refusal(INT4) is None
