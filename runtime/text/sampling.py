"""The target's token at each row: what shapes a distribution without looking at the text, as the library applies it, then argmax with
position-keyed noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from casspec.storage.errors import UnsupportedOption

LEAST_TEMPERATURE = 1e-6
"""Below it logits leave float32."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding parameters. `temperature` 0 is greedy, and then nothing else matters.

    They apply in the order in which they stand here.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    """Least probability of a token, over that of the likeliest one."""
    typical_p: float | None = None
    """Mass of the tokens kept whose surprise is nearest to the entropy (Meister et al. 2023, locally typical sampling)."""

    def __post_init__(self) -> None:
        if self.temperature != 0 and not LEAST_TEMPERATURE <= self.temperature < float("inf"):
            raise UnsupportedOption(
                f"temperature must be 0 (greedy) or from {LEAST_TEMPERATURE:g} on, not {self.temperature}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise UnsupportedOption(f"top_k must be at least 1, not {self.top_k}")
        for name in ("top_p", "typical_p"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise UnsupportedOption(f"{name} must lie in (0, 1], not {value}")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise UnsupportedOption(f"min_p must lie in [0, 1], not {self.min_p}")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def filters(self) -> bool:
        """Whether it leaves tokens out."""
        return any(limit is not None for limit in (self.top_k, self.top_p, self.min_p, self.typical_p))

    def scores(self, logits: Tensor) -> Tensor:
        """Unnormalised log p~ in float32 [rows, vocab], -inf for excluded tokens; the logits themselves when greedy."""
        scores = logits.float()
        if self.greedy:
            return scores
        scores = scores * (1 / self.temperature)
        if self.top_k is not None and self.top_k < scores.shape[-1]:
            threshold = scores.topk(self.top_k, dim=-1).values[..., -1:]
            scores.masked_fill_(scores < threshold, -torch.inf)
        if self.top_p is not None and self.top_p < 1:
            ordered, order = scores.sort(dim=-1, stable=True)
            excluded = ordered.softmax(-1).cumsum(-1) <= 1 - self.top_p
            excluded[..., -1] = False
            scores.masked_fill_(excluded.scatter(-1, order, excluded), -torch.inf)
        if self.min_p:
            probabilities = scores.softmax(-1)
            scores.masked_fill_(probabilities < self.min_p * probabilities.amax(-1, keepdim=True), -torch.inf)
        if self.typical_p is not None and self.typical_p < 1:
            scores.masked_fill_(_atypical(scores, self.typical_p), -torch.inf)
        return scores

    def perturbed(self, logits: Tensor, noise: Tensor) -> Tensor:
        """log p~ + g up to a constant a row, float32 [rows, vocab], for logits and noise [rows, vocab]."""
        if not self.filters:
            return torch.add(noise, logits, alpha=1 / self.temperature)  # one pass, no copies
        return self.scores(logits) + noise

    def tokens(self, logits: Tensor, noise: Tensor | None) -> Tensor:
        """y = argmax(log p~ + g): int64 [rows] for logits and noise [rows, vocab]; `noise` None is greedy."""
        scores = self.scores(logits) if noise is None else self.perturbed(logits, noise)
        if scores.device.type == "cpu":
            return torch.from_numpy(scores.numpy().argmax(-1))  # several times faster than torch's own on few rows
        return scores.argmax(-1)


def _atypical(scores: Tensor, mass: float) -> Tensor:
    """Which tokens [rows, vocab] are not among those nearest to the entropy that hold `mass` together."""
    logs = scores.log_softmax(-1)
    probabilities = logs.exp()
    entropy = -(logs * probabilities).nansum(-1, keepdim=True)
    distance, order = (-logs - entropy).abs().sort(dim=-1)
    before = scores.gather(-1, order).softmax(-1).cumsum(-1) < mass
    last = before.sum(-1, keepdim=True).clamp_(max=scores.shape[-1] - 1)
    excluded = distance > distance.gather(-1, last)
    excluded[..., 0] = False
    return excluded.scatter(-1, order, excluded)
