"""What the parts of a model cost: bytes read and operations done for one token, the mean over its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from casspec.runtime.model.generic.anatomy import Anatomy
from casspec.runtime.model.kv_cache import LayerRows

CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts", "experts_per_token")
"""Names that configs have for how many experts a token goes through."""


def part_costs(
    anatomy: Anatomy, config: Any, rows: Sequence[LayerRows], vocab_size: int, dtype: torch.dtype
) -> dict[str, float]:
    """As `Backend.costs` has them. Of experts those count that a token goes through."""
    n_layers, hidden = len(anatomy.layers), anatomy.parts[0].output.width
    attention, mlp = [0.0, 0.0], [0.0, 0.0]  # numbers, bytes
    for layer, parts in zip(anatomy.layers, anatomy.parts, strict=True):
        for names, total in (((parts.attention,), attention), (parts.mlp, mlp)):
            for name in names:
                for weight, share in _weights(getattr(layer, name), config) if name else ():
                    total[0] += share * weight.numel()
                    total[1] += share * weight.nbytes
    head = hidden * vocab_size
    return {
        "attention_bytes": attention[1] / n_layers,
        "mlp_bytes": mlp[1] / n_layers,
        "head_bytes": float(head * dtype.itemsize),
        "row_bytes": float(dtype.itemsize * sum(row.numbers for row in rows) / n_layers),
        "attention_operations": 2.0 * attention[0] / n_layers,
        "mlp_operations": 2.0 * mlp[0] / n_layers,
        "head_operations": 2.0 * head,
        "score_operations": 2.0 * sum(row.numbers for row in rows) / n_layers * _groups(config, rows),
    }


def _weights(module: nn.Module, config: Any) -> list[tuple[Tensor, float]]:
    """Matrices of a sub-layer, and the share of each that a token's way leads through."""
    chosen = next((value for name in CHOSEN if isinstance(value := getattr(config, name, None), int)), 1)
    found = []
    for name, weight in (*module.named_parameters(), *module.named_buffers()):
        if weight.ndim < 2:
            continue
        if weight.ndim == 3:
            found.append((weight, min(1.0, chosen / len(weight))))
        elif ".experts." in f".{name}":
            listed = module.get_submodule(name.split("experts.")[0] + "experts")
            found.append((weight, min(1.0, chosen / max(1, len(list(listed.children()))))))
        else:
            found.append((weight, 1.0))
    return found


def _groups(config: Any, rows: Sequence[LayerRows]) -> float:
    """Query heads that read one key head."""
    heads = getattr(config, "num_attention_heads", None)
    return max(1.0, heads / rows[0].heads) if isinstance(heads, int) else 1.0
