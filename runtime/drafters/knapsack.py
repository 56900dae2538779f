"""Which sub-layers to skip, by dynamic programming over the cost they save (KnapSpec, arXiv 2602.20217; CLaSp, arXiv 2505.24196).

A skip set is good when the hidden states it leads to point where the full model's do. The programme goes through the sub-layers and keeps,
for every cost saved so far, the way there whose states are the most similar: one masked sub-layer call for all kept ways at once,
sub-layers x budget in all. It gives a whole front, one skip set for every saving.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.model.transfers import to_device, to_host

RunSubLayer = Callable[[int, Tensor], Tensor]
"""(sub-layer, hidden states [ways, tokens, hidden]) -> the same after it; sub-layer 2i is the attention of layer i, 2i + 1 its MLP."""


@dataclass(slots=True)
class Way:
    """A skip set found, and what its plan computes."""

    saved: int
    """Sum of the weights of what is skipped."""
    skipped: tuple[int, ...]
    """Sub-layers, ascending."""
    similarity: float
    """Mean cosine similarity to the full model's states after the last sub-layer that could be skipped."""
    hidden: Tensor
    """[tokens, hidden] after the last sub-layer."""


def most_similar_ways(
    trajectory: list[Tensor], run: RunSubLayer, weights: list[int], budget: int, min_similarity: float = 0.5
) -> list[Way]:
    """The best skip set of every saving up to `budget`, least saved first.

    Args:
        trajectory: the full model's hidden states before each sub-layer and after the last, [tokens, hidden] each.
        run: runs one sub-layer.
        weights: cost of each sub-layer; 0 where it must run.
        min_similarity: ways less similar are given up (published: .5).
    """
    first = next((place for place, weight in enumerate(weights) if weight), len(weights))
    saved, skipped, similarities = [0], [tuple[int, ...]()], [1.0]
    states = trajectory[first][None]
    for place in range(first, len(weights)):
        weight, ran = weights[place], run(place, states)
        if not weight:
            states = ran
            continue
        pool = torch.cat((ran, states))
        saved += [value + weight for value in saved]
        skipped += [(*way, place) for way in skipped]
        alike = F.cosine_similarity(pool.float(), trajectory[place + 1].float(), dim=-1).mean(-1)
        similarities = to_host(alike).tolist()
        rising = sorted(range(len(pool)), key=similarities.__getitem__)
        best = {saved[i]: i for i in rising if saved[i] <= budget and similarities[i] >= min_similarity}
        if not best:
            return []
        chosen = [best[value] for value in sorted(best)]
        saved, skipped = [saved[i] for i in chosen], [skipped[i] for i in chosen]
        states = pool.index_select(0, to_device(chosen, pool.device))
        similarities = [similarities[i] for i in chosen]
    return list(map(Way, saved, skipped, similarities, states))


def integer_weights(attention_ms: float, mlp_ms: float, largest: int = 5) -> tuple[int, int]:
    """Weights of an attention and an MLP sub-layer: the cheaper counts 1, the other their ratio, at most `largest` (published: 5)."""
    if attention_ms > mlp_ms:
        return min(round(attention_ms / mlp_ms), largest), 1
    return 1, min(round(mlp_ms / attention_ms), largest)
