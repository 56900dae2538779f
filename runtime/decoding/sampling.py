"""The target's token at each row: temperature, top-k and top-p as the library applies them, then argmax with position-keyed noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from casspec.storage.errors import UnsupportedOption


@dataclass(frozen=True, slots=True)
class Sampling:
    """Decoding parameters. `temperature` 0 is greedy, and then nothing else matters."""

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise UnsupportedOption(f"temperature must be 0 (greedy) or positive, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise UnsupportedOption(f"top_k must be at least 1, not {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UnsupportedOption(f"top_p must lie in (0, 1], not {self.top_p}")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def filters(self) -> bool:
        """Whether it leaves tokens out."""
        return self.top_k is not None or self.top_p is not None

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
            ordered, order = scores.sort(dim=-1)
            excluded = ordered.softmax(-1).cumsum(-1) <= 1 - self.top_p
            excluded[..., -1] = False
            scores.masked_fill_(excluded.scatter(-1, order, excluded), -torch.inf)
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
