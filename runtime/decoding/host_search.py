"""The best tokens of logits on the host, with the noise of their positions or without: the compiled passes for one text's forwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.successors import TOP_SUCCESSORS, SuccessorRow
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.vocabulary import best_tokens, walk
from casspec.runtime.text.sampling import Sampling

MOST_WALKED = 32
"""Nodes walked in one call; hardly a step emits as many."""

_NO_NOISE = np.uint64(0), np.empty(0, np.int64), np.empty((0, 0), np.float32)
_ONE = np.float32(1)


class HostSearch:
    """Of a text's forwards on the host.

    Args:
        noise: of the text; None when greedy.
    """

    __slots__ = ("_alpha", "_filtered", "_ids", "_logits", "_noise", "_path", "_sampling")

    def __init__(self, sampling: Sampling, noise: GumbelNoise | None, vocab_size: int) -> None:
        self._sampling = sampling
        self._filtered = noise is not None and sampling.filters
        self._noise = _NO_NOISE if noise is None else (noise.key, noise.made, noise.ceilings)
        self._alpha = _ONE if noise is None or self._filtered else np.float32(1 / sampling.temperature)
        # Room for what a walk finds: just after a forward an array costs more to make than to fill.
        n = min(TOP_SUCCESSORS, vocab_size)
        self._path = np.empty((MOST_WALKED, 2), np.int64)
        self._ids, self._logits = np.empty((MOST_WALKED, n), np.int64), np.empty((MOST_WALKED, n), np.float32)

    def best(
        self, logits: Tensor, rows: Sequence[int], positions: Sequence[int] | None, n: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `n` best tokens of each of `rows` of logits [rows, vocab] by log p~ + g, or by their logits when greedy.

        Args:
            positions: emitted position of what each draws; None when greedy.

        Returns:
            (ids int64, scores float32) [rows, n], best first, the lower token of equals.
        """
        if self._filtered:
            logits, rows = self._sampling.scores(logits[rows]), range(len(rows))
        drawn = [-1] * len(rows) if positions is None else positions
        return _best(logits, rows, drawn, n, self._alpha, self._noise)

    def walk(
        self, logits: Tensor, tree: CandidateTree, node: int, position: int, with_successors: bool
    ) -> list[tuple[int, int, SuccessorRow | None]]:
        """(node, the target's token after it, its row's largest logits where asked for) from `node` down, while a child is that token.

        Where sampling leaves tokens out it is one node alone, without successors.

        Args:
            logits: [nodes at least, vocab]. position: that what follows `node` is emitted at; -1 when greedy.
        """
        if self._filtered:
            return [(node, int(self.best(logits, [node], [position], 1)[0][0, 0]), None)]
        path, ids, values = self._path, self._ids, self._logits
        if not with_successors:
            ids, values = ids[:, :0].copy(), values[:, :0].copy()
        tokens, parents = np.array(tree.tokens, np.int64), np.array(tree.parents, np.int64)
        n = walk(
            bits_of(logits),
            logits.shape[1],
            tokens,
            parents,
            node,
            position,
            self._alpha,
            *self._noise,
            path,
            ids,
            values,
        )
        found = path[:n].tolist()
        if not with_successors:
            return [(walked, token, None) for walked, token in found]
        rows = zip(ids[:n].tolist(), values[:n].tolist(), strict=True)
        return [(walked, token, row) for (walked, token), row in zip(found, rows, strict=True)]


def top_rows(logits: Tensor) -> tuple[list[list[int]], list[list[float]]]:
    """Ids and logits of the TOP_SUCCESSORS largest entries of each row of logits [rows, vocab], largest first."""
    n = min(TOP_SUCCESSORS, logits.shape[-1])
    if logits.device.type == "cpu":
        ids, values = _best(logits, range(len(logits)), [-1] * len(logits), n, _ONE, _NO_NOISE)
        return ids.tolist(), values.tolist()
    top = logits.topk(n, dim=-1)
    return top.indices.tolist(), top.values.tolist()


def _best(
    logits: Tensor,
    rows: Sequence[int],
    positions: Sequence[int],
    n: int,
    alpha: np.float32,
    noise: tuple[np.uint64, np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    ids, scores = np.empty((len(rows), n), np.int64), np.empty((len(rows), n), np.float32)
    row_ids, drawn_at = np.array(rows, np.int64), np.array(positions, np.int64)
    key, made, ceilings = noise
    best_tokens(bits_of(logits), logits.shape[1], row_ids, drawn_at, alpha, key, made, ceilings, ids, scores)
    return ids, scores


def bits_of(logits: Tensor) -> np.ndarray:
    """Logits [rows, vocab] as the integers of their bits [rows, vocab at least]: int16 for bfloat16, int32 of float32 for any other type.

    A view of the same memory where that can be: what lies between two rows of the first columns of a wider tensor is in it too.
    """
    if logits.dtype is not torch.bfloat16:
        logits = logits.float()
    if not logits.is_contiguous():
        width = logits.stride(0)
        end = (logits.storage_offset() + len(logits) * width) * logits.element_size()
        if logits.stride(1) == 1 and width > logits.shape[1] and end <= logits.untyped_storage().nbytes():
            logits = logits.as_strided((len(logits), width), (width, 1))
        else:
            logits = logits.contiguous()
    if logits.dtype is torch.bfloat16:
        return logits.view(torch.int16).numpy()
    return logits.numpy().view(np.int32)
