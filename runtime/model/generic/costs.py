"""What the parts of a model cost: bytes read and operations done for one token, the mean over its layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from casspec.runtime.model.generic.anatomy import Anatomy
from casspec.runtime.model.kv_cache import LayerRows

CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts", "experts_per_token")
"""Names that configs have for how many experts a token goes through."""


@dataclass(frozen=True, slots=True)
class CountedWeight:
    """A matrix of a sub-layer.

    Attributes:
        owner: identity of the module that holds it. share: of it, what a token's way leads through. numbers, n_bytes: of all of it.
    """

    owner: int
    share: float
    numbers: int
    n_bytes: int


def part_costs(
    anatomy: Anatomy, config: Any, rows: Sequence[LayerRows], vocab_size: int, dtype: torch.dtype
) -> dict[str, float]:
    """As `Backend.costs` has them. Of experts those count that a token goes through."""
    n_layers, hidden = len(anatomy.layers), anatomy.parts[0].output.width
    weights = sub_layer_weights(anatomy, config)
    attention, mlp = (sum(one.share * one.numbers for one in weights[part]) for part in ("attention", "mlp"))
    head = hidden * vocab_size
    return sub_layer_bytes(weights, n_layers) | {
        "head_bytes": float(head * dtype.itemsize),
        "row_bytes": float(dtype.itemsize * sum(row.numbers for row in rows) / n_layers),
        "attention_operations": 2.0 * attention / n_layers,
        "mlp_operations": 2.0 * mlp / n_layers,
        "head_operations": 2.0 * head,
        "score_operations": 2.0 * sum(row.numbers for row in rows) / n_layers * _groups(config, rows),
    }


def sub_layer_weights(anatomy: Anatomy, config: Any) -> dict[str, list[CountedWeight]]:
    """Matrices of all layers by the kind of sub-layer they are in: attention, mlp."""
    found: dict[str, list[CountedWeight]] = {"attention": [], "mlp": []}
    for layer, parts in zip(anatomy.layers, anatomy.parts, strict=True):
        for kind, names in (("attention", (parts.attention,)), ("mlp", parts.mlp)):
            for name in names:
                found[kind] += _weights(getattr(layer, name), config) if name else ()
    return found


def sub_layer_bytes(
    weights: Mapping[str, Sequence[CountedWeight]], n_layers: int, others: Mapping[int, int] | None = None
) -> dict[str, float]:
    """Bytes that a sub-layer of either kind reads for one token, the mean over layers.

    Args:
        others: by identity of a module, the bytes of what is read in place of its weight.
    """
    others = others or {}
    return {
        f"{kind}_bytes": sum(one.share * others.get(one.owner, one.n_bytes) for one in counted) / n_layers
        for kind, counted in weights.items()
    }


def _weights(module: nn.Module, config: Any) -> list[CountedWeight]:
    chosen = next((value for name in CHOSEN if isinstance(value := getattr(config, name, None), int)), 1)
    found = []
    for name, weight in (*module.named_parameters(), *module.named_buffers()):
        if weight.ndim < 2:
            continue
        if weight.ndim == 3:
            share = min(1.0, chosen / len(weight))
        elif ".experts." in f".{name}":
            listed = module.get_submodule(name.split("experts.")[0] + "experts")
            share = min(1.0, chosen / max(1, len(list(listed.children()))))
        else:
            share = 1.0
        owner = module.get_submodule(name.rpartition(".")[0])
        found.append(CountedWeight(id(owner), share, weight.numel(), weight.nbytes))
    return found


def _groups(config: Any, rows: Sequence[LayerRows]) -> float:
    """Query heads that read one key head."""
    heads = getattr(config, "num_attention_heads", None)
    return max(1.0, heads / rows[0].heads) if isinstance(heads, int) else 1.0
