"""The best tokens of logits on the host, with the noise of their positions or without: the compiled passes for one text's forwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.decoding.kept_tokens import LOOKED_AT, by_rank, kept
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.vocabulary import best_tokens, gumbel_entries, walk
from casspec.runtime.text.sampling import Sampling

MOST_WALKED = 32
"""Nodes walked in one call; hardly a step emits as many."""

MOST_SEARCHED, MOST_BEST = 128, 8
"""Rows, and tokens of each, that there is room for from the beginning."""

_NO_NOISE = np.uint64(0), np.empty(0, np.int64), np.empty((0, 0), np.float32)
_ONE = np.float32(1)


class HostSearch:
    """Of a text's forwards on the host.

    Args:
        noise: of the text; None when greedy.

    Attributes:
        walks: how many there were.
    """

    __slots__ = (
        "_alpha",
        "_filtered",
        "_ids",
        "_logits",
        "_n_walked",
        "_noise",
        "_path",
        "_room",
        "_sampling",
        "walks",
    )

    def __init__(self, sampling: Sampling, noise: GumbelNoise | None, vocab_size: int) -> None:
        self._sampling = sampling
        self._filtered = noise is not None and sampling.filters
        self._noise = _NO_NOISE if noise is None else (noise.key, noise.made, noise.ceilings)
        self._alpha = _ONE if noise is None or self._filtered else np.float32(1 / sampling.temperature)
        # Room for what is found: just after a forward an array costs more to make than to fill.
        n = min(TOP_SUCCESSORS, vocab_size)
        self._path = np.empty((MOST_WALKED, 2), np.int64)
        self._ids, self._logits = np.empty((MOST_WALKED, n), np.int64), np.empty((MOST_WALKED, n), np.float32)
        self._n_walked = self.walks = 0
        self._room = _Room(MOST_SEARCHED, MOST_BEST)

    def best(
        self, logits: Tensor, rows: Sequence[int], positions: Sequence[int] | None, n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `n` best tokens of each of `rows` of logits [rows, vocab] by log p~ + g, or by their logits when greedy.

        Args:
            positions: emitted position of what each draws; None when greedy.

        Returns:
            (ids int64, scores float32) [rows, n], best first, the lower token of equals; valid until the next call.
        """
        if self._filtered and positions is not None:
            return self._best_of_kept(logits, rows, positions, n)
        drawn = [-1] * len(rows) if positions is None else positions
        return _best(logits, rows, drawn, n, self._alpha, self._noise, self._room)

    def _best_of_kept(
        self, logits: Tensor, rows: Sequence[int], positions: Sequence[int], n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same where sampling leaves tokens out; those have score -inf. Rows whose best tokens do not show what is left are sorted."""
        sampling, (n_rows, vocab) = self._sampling, (len(rows), logits.shape[1])
        ids, scores = np.zeros((n_rows, n), np.int64), np.full((n_rows, n), -np.inf, np.float32)
        unclear: Sequence[int] = list(range(n_rows))
        if by_rank(sampling):
            most, alpha = min(max(LOOKED_AT, n), vocab), np.float32(1 / sampling.temperature)
            best, values = _best(logits, rows, [-1] * n_rows, most, alpha, _NO_NOISE, _Room(n_rows, most))
            totals = [0.0] * n_rows
            if sampling.top_p is not None and sampling.top_k is None:
                exponents = (logits[rows].float() * float(alpha)).sub_(torch.from_numpy(values[:, :1].copy()))
                totals = exponents.exp_().sum(-1).tolist()
            stay = [kept(values[i], totals[i], sampling, vocab) for i in range(n_rows)]
            for i, places in enumerate(stay):
                if places is not None:
                    self._draw(best[i][places], values[i][places], positions[i], ids[i], scores[i])
            unclear = [i for i, places in enumerate(stay) if places is None]
        if unclear:
            left = sampling.scores(logits[[rows[i] for i in unclear]])
            drawn_at = [positions[i] for i in unclear]
            ids[unclear], scores[unclear] = _best(left, range(len(unclear)), drawn_at, n, _ONE, self._noise, self._room)
        return ids, scores

    def _draw(self, tokens: np.ndarray, scores: np.ndarray, position: int, ids: np.ndarray, drawn: np.ndarray) -> None:
        """The best of `tokens` with their noise, written to `ids` and `drawn`; the lowest of all others where they are too few."""
        g, n = np.empty(len(tokens), np.float32), len(ids)
        gumbel_entries(self._noise[0], position, tokens, g)
        g += scores
        order = np.lexsort((tokens, -g))[:n]
        ids[: len(order)], drawn[: len(order)] = tokens[order], g[order]
        if len(order) < n:
            chosen = set(tokens.tolist())
            others = [token for token in range(n + len(chosen)) if token not in chosen]
            ids[len(order) :] = others[: n - len(order)]

    def walk(
        self, logits: Tensor, tree: CandidateTree, node: int, position: int, with_successors: bool
    ) -> list[tuple[int, int]]:
        """(node, the target's token after it) from `node` down, while a child is that token; `walked_rows` are theirs, where asked for.

        Where sampling leaves tokens out it is one node alone, without successors.

        Args:
            logits: [nodes at least, vocab]. position: that what follows `node` is emitted at; -1 when greedy.
        """
        self._n_walked, self.walks = 0, self.walks + 1
        if self._filtered:
            return [(node, int(self.best(logits, [node], [position], 1)[0][0, 0]))]
        path, ids, values = self._path, self._ids, self._logits
        if not with_successors:
            ids, values = ids[:, :0].copy(), values[:, :0].copy()
        tokens, parents = np.array(tree.tokens, np.int64), np.array(tree.parents, np.int64)
        logits, place = place_of(logits)
        n = walk(*place, tokens, parents, node, position, self._alpha, *self._noise, path, ids, values)
        if with_successors:
            self._n_walked = n
        return [(walked, token) for walked, token in path[:n].tolist()]

    def walked_rows(self, n: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Ids int64 and logits float32 [n, TOP_SUCCESSORS], largest first, of the first `n` nodes of the last walk; valid until the next.

        None where it went over fewer, or none were asked for.
        """
        return (self._ids[:n], self._logits[:n]) if n <= self._n_walked else None


def top_rows(logits: Tensor) -> tuple[list[list[int]], list[list[float]]]:
    """Ids and logits of the TOP_SUCCESSORS largest entries of each row of logits [rows, vocab], largest first."""
    n, rows = min(TOP_SUCCESSORS, logits.shape[-1]), range(len(logits))
    ids, values = _best(logits, rows, [-1] * len(logits), n, _ONE, _NO_NOISE, _Room(len(logits), n))
    return ids.tolist(), values.tolist()


class _Room:
    """Arrays for what is asked of up to `rows` rows, and what is found: up to `n` tokens each."""

    __slots__ = ("_ids", "_positions", "_rows", "_scores")

    def __init__(self, rows: int, n: int) -> None:
        self._rows, self._positions = np.empty(rows, np.int64), np.empty(rows, np.int64)
        self._ids, self._scores = np.empty(rows * n, np.int64), np.empty(rows * n, np.float32)

    def holds(self, rows: int, n: int) -> bool:
        return rows <= len(self._rows) and rows * n <= len(self._ids)

    def arrays(
        self, rows: Sequence[int], positions: Sequence[int], n: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows and positions, as given, and what is to be found [rows, n]."""
        size = len(rows)
        asked, drawn = self._rows[:size], self._positions[:size]
        asked[:], drawn[:] = rows, positions
        return asked, drawn, self._ids[: size * n].reshape(size, n), self._scores[: size * n].reshape(size, n)


def _best(
    logits: Tensor,
    rows: Sequence[int],
    positions: Sequence[int],
    n: int,
    alpha: np.float32,
    noise: tuple[np.uint64, np.ndarray, np.ndarray],
    room: _Room,
) -> tuple[np.ndarray, np.ndarray]:
    if not room.holds(len(rows), n):
        room = _Room(len(rows), n)
    asked, drawn, ids, scores = room.arrays(rows, positions, n)
    logits, place = place_of(logits)
    best_tokens(*place, asked, drawn, alpha, *noise, ids, scores)
    return ids, scores


def place_of(logits: Tensor) -> tuple[Tensor, tuple[int, int, int, bool, int]]:
    """Logits [rows, vocab] as compiled functions read them, and where: address, rows, numbers from row to row, whether these are float32
    (else bfloat16), vocab.

    They are those given where that can be, and must be held for as long as they are read.
    """
    if logits.dtype is not torch.float32 and logits.dtype is not torch.bfloat16:
        logits = logits.float()
    if logits.stride(1) != 1:
        logits = logits.contiguous()
    rows, vocab = logits.shape
    return logits, (logits.data_ptr(), rows, logits.stride(0), logits.dtype is torch.float32, vocab)
