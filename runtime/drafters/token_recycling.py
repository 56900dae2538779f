"""Token recycling: the target's own top successors, kept from earlier forwards and proposed again (Luo et al. 2024).

A matrix holds, for every token, the ids and logits of the target's top successors the last time that token was seen. It starts
from the matrix recorded in calibration and is refreshed by prefill and verification. Keeping the logits, not only the order, lets
the row be perturbed with the same noise as the target's: under sampling the proposals then follow the sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from casspec.runtime.decoding.successors import TOP_SUCCESSORS, SuccessorRow


@dataclass(frozen=True)
class RecyclingMatrix:
    """Start state recorded in calibration: `token_ids` int32 and `logits` float32 [vocab, TOP_SUCCESSORS]; unseen rows are -1."""

    token_ids: np.ndarray
    logits: np.ndarray

    @classmethod
    def empty(cls, vocab_size: int) -> RecyclingMatrix:
        return cls(
            np.full((vocab_size, TOP_SUCCESSORS), -1, np.int32), np.zeros((vocab_size, TOP_SUCCESSORS), np.float32)
        )

    def mean_row(self) -> SuccessorRow | None:
        """What follows any token: the mean of all rows, in log probabilities; None where no token was seen."""
        seen = self.token_ids[:, 0] >= 0
        if not seen.any():
            return None
        ids, logits = self.token_ids[seen], self.logits[seen].astype(np.float64)
        weights = np.exp(logits - logits.max(1, keepdims=True)) * (ids >= 0)
        sums = np.bincount(ids.clip(0).ravel(), (weights / weights.sum(1, keepdims=True)).ravel())
        best = np.argsort(-sums, kind="stable")[: min(TOP_SUCCESSORS, np.count_nonzero(sums))]
        return best.tolist(), np.log(sums[best] / seen.sum()).tolist()

    def to_bytes(self) -> bytes:
        """int32 [vocab, TOP_SUCCESSORS] then float32 [vocab, TOP_SUCCESSORS], little endian, no header."""
        return self.token_ids.astype("<i4").tobytes() + self.logits.astype("<f4").tobytes()

    @classmethod
    def from_bytes(cls, content: bytes, vocab_size: int) -> RecyclingMatrix:
        """Raises ValueError when the size is not that of `vocab_size` tokens."""
        half = vocab_size * TOP_SUCCESSORS * 4
        if len(content) != 2 * half:
            raise ValueError(f"a recycling matrix of {vocab_size} tokens has {2 * half} bytes, not {len(content)}")
        ids = np.frombuffer(content[:half], "<i4").reshape(vocab_size, TOP_SUCCESSORS)
        return cls(ids, np.frombuffer(content[half:], "<f4").reshape(vocab_size, TOP_SUCCESSORS))


class TokenRecycling:
    """Rows refreshed in this request over the matrix of the profile."""

    name = "token-recycling"

    def __init__(self, matrix: RecyclingMatrix | None = None) -> None:
        self._matrix = matrix
        self._fresh: dict[int, SuccessorRow] = {}
        self._stored: dict[int, SuccessorRow | None] = {}

    def begin(self) -> None:
        """Back to the profile's matrix."""
        self._fresh = {}

    def refresh(self, tokens: list[int], token_ids: list[list[int]], logits: list[list[float]]) -> None:
        """The target's top successors after each of `tokens`: ids and logits [len(tokens)][TOP_SUCCESSORS]."""
        self._fresh.update(zip(tokens, zip(token_ids, logits, strict=True), strict=True))

    def row(self, token: int) -> SuccessorRow | None:
        """Top successors of `token`, None when it was never seen."""
        row = self._fresh.get(token)
        return row if row is not None else self._stored_row(token)

    def _stored_row(self, token: int) -> SuccessorRow | None:
        if self._matrix is None:
            return None
        if token not in self._stored:
            ids = self._matrix.token_ids[token].tolist()
            self._stored[token] = None if ids[0] < 0 else (ids, self._matrix.logits[token].tolist())
        return self._stored[token]
