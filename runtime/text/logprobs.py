"""Probabilities of what was emitted: of the distribution it was sampled from, and of the model's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Natural logarithms of probabilities at one emitted position."""

    token: int
    logprob: float
    """After everything the request asked for: what was sampled from. Greedily, that of the adjusted logits."""
    raw_logprob: float
    """Of the model's own logits."""
    top: list[tuple[int, float]]
    """(token, logprob) of the likeliest, best first; fewer where others are left out."""
    raw_top: list[tuple[int, float]]


def token_logprobs(token: int, raw: Tensor, scores: Tensor, count: int) -> TokenLogprobs:
    """Of one position.

    Args:
        raw, scores: logits as they came and as sampled from [vocab].
        count: of the likeliest tokens.
    """
    logs = [row.float().log_softmax(-1) for row in (scores, raw)]
    values = torch.stack([log[token] for log in logs]).tolist()
    tops = [_top(log, count) for log in logs]
    return TokenLogprobs(token, values[0], values[1], tops[0], tops[1])


def _top(logs: Tensor, count: int) -> list[tuple[int, float]]:
    found = logs.topk(min(count, len(logs)))
    listed = zip(found.indices.tolist(), found.values.tolist(), strict=True)
    return [(token, value) for token, value in listed if value > -torch.inf]
