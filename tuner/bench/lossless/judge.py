"""Losslessness: a method's text equals autoregressive text, token by token, up to ties that float32 cannot resolve.

In float32 the same logits come out of forwards of different query lengths with different rounding. Where two tokens'
scores log p~ + g lie closer than that rounding, either may win. So a difference is judged in float64: it is a tie when
both tokens are within `TIE_GAP` nats of the best there, and anything else is a bug. The text is compared up to a tie
and again from the reference's prefix behind it, so that one tie does not hide what follows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.model.target import TargetModel
from casspec.tuner.bench.requests import Request
from casspec.tuner.recordings.teacher_forcing import teacher_forced

TIE_GAP = 1e-5
"""Nats of log p~ + g."""
FEWEST_TIES_ALLOWED = 2
TIES_ALLOWED_PER_TOKEN = 5e-6


@dataclass(frozen=True)
class Difference:
    """Where a text leaves its reference. A text that ends early or late has no token there, and no gap."""

    place: int
    """Index among the new tokens."""
    reference: int | None
    found: int | None
    gap: float | None
    """Nats by which the worse of the two tokens misses the best score."""

    @property
    def is_tie(self) -> bool:
        return self.gap is not None and self.gap < TIE_GAP


def ties_allowed(n_tokens: int) -> float:
    """Ties that rounding may cause in so many tokens."""
    return max(FEWEST_TIES_ALLOWED, TIES_ALLOWED_PER_TOKEN * n_tokens)


def is_lossless(differences: Sequence[Difference], n_tokens: int) -> bool:
    """Only ties, and no more of them than rounding explains in `n_tokens` compared tokens."""
    return all(difference.is_tie for difference in differences) and len(differences) <= ties_allowed(n_tokens)


def first_difference(reference: Sequence[int], found: Sequence[int]) -> int | None:
    """Index of the first token that differs or is missing on one side, None for equal texts."""
    for place, (expected, token) in enumerate(zip(reference, found, strict=False)):
        if expected != token:
            return place
    return None if len(reference) == len(found) else min(len(reference), len(found))


def score_gap(target: TargetModel, prefix: Sequence[int], tokens: Sequence[int], request: Request) -> float:
    """Nats by which the worst of `tokens` misses the best score log p~ + g after `prefix`, in the target's precision.

    Scores are compared by temperature alone: top-k and top-p, which no benchmark uses, have thresholds of their own.
    """
    with torch.inference_mode():
        *_, (_, hidden) = teacher_forced(target, prefix, target.new_cache(len(prefix)))
        scores = target.read(hidden[-1:])[0].double()
        if not request.sampling.greedy:
            noise = GumbelNoise(request.seed, target.vocab_size, target.device)
            scores = scores / request.sampling.temperature + noise.rows(len(prefix), 1)[0].double()
        return float(scores.max() - scores[list(tokens)].min())


class Judge:
    """Decides on differences with the target in float64, copied on first need."""

    def __init__(self, target: TargetModel) -> None:
        self._target = target

    @cached_property
    def exact(self) -> TargetModel:
        """The same weights and function in float64."""
        return TargetModel(copy.deepcopy(self._target.library_model).double(), name=self._target.name)

    def differences(
        self,
        reference: Sequence[int],
        found: Sequence[int],
        request: Request,
        decode: Callable[[list[int], int], list[int]],
    ) -> list[Difference]:
        """All ties of one text, or everything up to its first bug.

        Args:
            reference, found: new tokens of the autoregressive and of the judged method.
            decode: (prompt token ids, number of tokens) -> new tokens of the judged method under the request's sampling
                and seed; noise is fixed by position, so that a longer prompt meets the same noise.
        """
        differences: list[Difference] = []
        start, tokens = 0, list(found)
        while (offset := first_difference(reference[start:], tokens)) is not None:
            place = start + offset
            difference = self.difference(reference, place, tokens[offset] if offset < len(tokens) else None, request)
            differences.append(difference)
            if not difference.is_tie or place + 1 == len(reference):
                break
            start = place + 1
            tokens = decode([*request.prompt, *reference[:start]], len(reference) - start)
        return differences

    def difference(self, reference: Sequence[int], place: int, found: int | None, request: Request) -> Difference:
        """The difference at `place`, with its gap in float64."""
        return measured_difference(self.exact, reference, place, found, request)


def measured_difference(
    target: TargetModel, reference: Sequence[int], place: int, found: int | None, request: Request
) -> Difference:
    """The difference at `place` of the new tokens, with its gap in the precision of `target`."""
    expected = reference[place] if place < len(reference) else None
    if expected is None or found is None:
        return Difference(place, expected, found, gap=None)
    prefix = [*request.prompt, *reference[:place]]
    return Difference(place, expected, found, score_gap(target, prefix, (expected, found), request))
