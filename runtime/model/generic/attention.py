"""Attention for the library's layers in place of its own over torch's fused kernel: keys are not repeated for the heads that share them.

The library repeats keys and values of the whole text in every layer where several heads of queries share one of keys. Here the heads that
share keys are more rows of queries instead.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from casspec.runtime.model.generic.views import copied

LIBRARYS, OURS = "sdpa", "casspec_sdpa"
"""Names of the two implementations."""

PLAIN_ARGUMENTS = frozenset({"position_ids", "use_cache", "cache_position", "past_key_values", "output_attentions"})
"""What a layer may pass on that does not change what is computed."""


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """As the library calls it: queries [batch, heads, queries, width] over keys [batch, key heads, length, width].

    Returns: [batch, queries, heads, width of values], and no weights. What it does not know is left to the library.
    """
    batch, heads, n_queries, width = query.shape
    groups = heads // key.shape[1]
    if attention_mask is None or attention_mask.shape[1] != 1 or kwargs.keys() - PLAIN_ARGUMENTS:
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, is_causal, **kwargs)
    if groups > 1:
        query = query.reshape(batch, -1, groups * n_queries, width)
        attention_mask = torch.cat([attention_mask] * groups, 2)
    elif n_queries == 1 and query.device.type == "cpu" and query.dtype is not torch.float32:
        # The CPU kernel for one query row in reduced precision takes longer than the one for two equal rows.
        query = torch.cat((query, query), 2)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=scaling)
    mixed = mixed.reshape(batch, heads, -1, mixed.shape[-1])[:, :, :n_queries]
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(OURS, attend)


def quickened(layer: nn.Module, attention: str, configs: dict[int, Any]) -> nn.Module:
    """A view of a layer whose attention runs `attend`, where the library would take torch's fused kernel; else the layer.

    Args:
        attention: the child's name. configs: copies of configs made so far, by the identity of the original.
    """
    module = getattr(layer, attention) if attention else layer
    config = getattr(module, "config", None)
    if not attention or getattr(config, "_attn_implementation", None) != LIBRARYS:
        return layer
    if id(config) not in configs:
        configs[id(config)] = copy.copy(config)
        configs[id(config)]._attn_implementation = OURS
    twin = copied(module, {})
    twin.config = configs[id(config)]
    return copied(layer, {attention: twin})
