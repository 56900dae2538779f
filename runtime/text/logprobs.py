"""Probabilities of what was emitted: of the distribution it was sampled from, and of the model's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from casspec.runtime.model.transfers import to_host


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
    tops = [log.topk(min(count, len(log))) for log in logs]
    parts = [(log[token : token + 1], top.values, top.indices) for log, top in zip(logs, tops, strict=True)]
    # As float64 values and tokens are exact, and one tensor is read for all.
    packed = torch.stack([torch.cat([part.double() for part in one]) for one in parts])
    (value, *top), (raw_value, *raw_top) = to_host(packed).tolist()
    return TokenLogprobs(token, value, raw_value, _listed(top), _listed(raw_top))


def _listed(numbers: list[float]) -> list[tuple[int, float]]:
    """(token, logprob) of logprobs and behind them their tokens."""
    values, tokens = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
    return [(int(token), value) for token, value in zip(tokens, values, strict=True) if value > -torch.inf]
