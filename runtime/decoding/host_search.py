"""The best tokens of logits on the host, with the noise of their positions or without: the compiled passes for one forward's rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sampling import Sampling
from casspec.runtime.decoding.successors import TOP_SUCCESSORS, SuccessorRow
from casspec.runtime.decoding.vocabulary import best_tokens, token_and_successors

_NO_KEY = np.uint64(0)
_NONE_MADE = np.empty(0, np.int64), np.empty((0, 0), np.float32)
_ONE = np.float32(1)


class HostSearch:
    """Of logits [rows, vocab] on the host.

    Args:
        noise: of the text; None when greedy.
    """

    __slots__ = ("_alpha", "_bits", "_filtered", "_logits", "_noise", "_sampling")

    def __init__(self, logits: Tensor, sampling: Sampling, noise: GumbelNoise | None) -> None:
        self._logits, self._sampling = logits, sampling
        self._filtered = noise is not None and sampling.filters
        self._bits = bits_of(logits)
        self._noise = (_NO_KEY, *_NONE_MADE) if noise is None else (noise.key, noise.made, noise.ceilings)
        self._alpha = _ONE if noise is None or self._filtered else np.float32(1 / sampling.temperature)

    def best(self, rows: Sequence[int], positions: Sequence[int] | None, n: int) -> tuple[np.ndarray, np.ndarray]:
        """The `n` best tokens of each of `rows` by log p~ + g, or by their logits when greedy.

        Args:
            positions: emitted position of what each draws; None when greedy.

        Returns:
            (ids int64, scores float32) [rows, n], best first, the lower token of equals.
        """
        ids, scores = np.empty((len(rows), n), np.int64), np.empty((len(rows), n), np.float32)
        drawn = np.full(len(rows), -1) if positions is None else np.array(positions, np.int64)
        places, bits = np.array(rows, np.int64), self._bits
        if self._filtered:
            bits, places = bits_of(self._sampling.scores(self._logits[rows])), np.arange(len(rows))
        best_tokens(bits, places, drawn, self._alpha, *self._noise, ids, scores)
        return ids, scores

    def token(self, row: int, position: int, with_successors: bool) -> tuple[int, SuccessorRow | None]:
        """The target's token by one row and, where asked for, the row's largest logits.

        Args:
            position: that it is emitted at; -1 when greedy.
        """
        n = min(TOP_SUCCESSORS, self._bits.shape[1]) if with_successors else int(position < 0)
        ids, logits = np.empty(n, np.int64), np.empty(n, np.float32)
        if not self._filtered:
            token = token_and_successors(self._bits, row, position, self._alpha, *self._noise, ids, logits)
        else:
            token = int(self.best([row], [position], 1)[0][0, 0])
            if n:
                token_and_successors(self._bits, row, -1, _ONE, *self._noise, ids, logits)
        return token, (ids.tolist(), logits.tolist()) if with_successors else None


def top_rows(logits: Tensor) -> tuple[list[list[int]], list[list[float]]]:
    """Ids and logits of the TOP_SUCCESSORS largest entries of each row of logits [rows, vocab], largest first."""
    n = min(TOP_SUCCESSORS, logits.shape[-1])
    if logits.device.type == "cpu":
        found = HostSearch(logits, Sampling(), None).best(range(len(logits)), None, n)
    else:
        found = logits.topk(n, dim=-1)[::-1]
    ids, values = found
    return ids.tolist(), values.tolist()


def bits_of(logits: Tensor) -> np.ndarray:
    """Logits [rows, vocab] as the integers of their bits: int16 for bfloat16, int32 of float32 for any other type."""
    if logits.dtype is torch.bfloat16:
        return logits.view(torch.int16).numpy()
    return logits.float().view(torch.int32).numpy()
