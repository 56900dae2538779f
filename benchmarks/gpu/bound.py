"""What the memory of a device allows: a token of plain decoding reads all weights and the rows of its text.

    bound_ms = (W + batch * R * c) / B

W: bytes of the weights that a forward reads, the head included. R: bytes of a token in the cache, over all layers. c: tokens a query
attends to. B: bandwidth as measured, bytes a millisecond. A model of 4.9 GB after 300 tokens of 0.2 MB each reads 4.96 GB; at 4,000 GB/s
that takes 1.24 ms, so that plain decoding makes 806 tokens/s at most.
"""

from __future__ import annotations

from collections.abc import Mapping


def weight_bytes(costs: Mapping[str, float], n_layers: int) -> float:
    """W, of what `TargetModel.costs` says. Looking a token up reads a row of the embedding, which is nothing beside it."""
    return n_layers * (costs["attention_bytes"] + costs["mlp_bytes"]) + costs["head_bytes"]


def bound_ms(
    costs: Mapping[str, float], n_layers: int, bandwidth_gb_per_s: float, context_tokens: float, batch: int = 1
) -> float:
    """Milliseconds that a forward of one token of each of `batch` texts takes at least."""
    n_bytes = weight_bytes(costs, n_layers) + batch * n_layers * costs["row_bytes"] * context_tokens
    return n_bytes / bandwidth_gb_per_s / 1e6
