"""Attention of ours computes what the library's does, whatever shares keys, and leaves to it what it does not know."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from casspec.runtime.model.generic import attention
from casspec.runtime.model.generic.attention import attend, quickened
from tests.runtime.tiny import library_model
from tests.runtime.tiny_families import tiny_model


def given(batch: int, heads: int, key_heads: int, queries: int, dtype: torch.dtype) -> tuple[nn.Module, ...]:
    dice = torch.Generator().manual_seed(0)
    query, key = (
        torch.randn(batch, heads, queries, 8, generator=dice),
        torch.randn(batch, key_heads, 16, 8, generator=dice),
    )
    value = torch.randn(batch, key_heads, 16, 6, generator=dice)
    mask = torch.full((1, 1, queries, 16), -torch.inf).triu(10)
    module = nn.Module()
    module.num_key_value_groups = heads // key_heads  # type: ignore[assignment]
    return module, *(part.to(dtype) for part in (query, key, value, mask))  # type: ignore[return-value]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize(("heads", "key_heads"), [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("batch", [1, 2])
def test_it_computes_what_the_librarys_does(
    batch: int, heads: int, key_heads: int, queries: int, dtype: torch.dtype
) -> None:
    arguments = given(batch, heads, key_heads, queries, dtype)
    found, nothing = attend(*arguments, scaling=0.3, position_ids=None)  # type: ignore[arg-type]
    expected, _ = sdpa_attention_forward(*arguments, scaling=0.3)  # type: ignore[arg-type]
    assert nothing is None
    assert found.shape == expected.shape == (batch, queries, heads, 6)
    tolerance = 1e-5 if dtype is torch.float32 else 2e-2
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("unknown", [{"mask": None}, {"softcap": 2.0}], ids=["no-mask", "unknown-argument"])
def test_what_it_does_not_know_is_the_librarys(unknown: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module, query, key, value, mask = given(1, 4, 2, 3, torch.float32)
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(attention, "sdpa_attention_forward", lambda *_, **kwargs: asked.append(kwargs))
    attend(module, query, key, value, unknown.pop("mask", mask), **unknown)  # type: ignore[arg-type]
    assert asked == [unknown]


def test_only_layers_over_the_fused_kernel_are_changed_and_in_views_alone() -> None:
    eager, fused = library_model().model.layers[0], tiny_model("llama").model.layers[0]
    assert quickened(eager, "self_attn", {}) is eager
    configs: dict[int, Any] = {}
    view = quickened(fused, "self_attn", configs)
    assert view.self_attn.config._attn_implementation == attention.OURS
    assert fused.self_attn.config._attn_implementation == attention.LIBRARYS
    assert view.self_attn.q_proj is fused.self_attn.q_proj
    assert quickened(fused, "self_attn", configs).self_attn.config is view.self_attn.config
