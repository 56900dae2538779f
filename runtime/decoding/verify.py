"""Lossless verification of a tree: what the target says of it, and the walk along the target's own tokens.

The target's token y after every visited node is already final (`runtime/decoding/noise.py`), so acceptance is an equality test: take
y, descend if y is a child, else emit it as the bonus token and stop. What was proposed can change the speed, never the text.

Only nodes on one path are asked about, and most of a tree lies beside it. So on the host answers are made when they are asked for,
row by row, each by the same operations whatever the tree around it. A device answers for all nodes at once and is waited for once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from torch import Tensor

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sampling import Sampling, greedy_token
from casspec.runtime.decoding.successors import TOP_SUCCESSORS, SuccessorRow
from casspec.runtime.decoding.tree import CandidateTree


def accept(tree: CandidateTree, token_after: Callable[[int], int]) -> tuple[list[int], list[int]]:
    """The accepted path and the tokens it emits.

    Args:
        tree: the verified tree.
        token_after: y by node; asked for once a node of the path.

    Returns:
        (nodes root first, tokens): one token a node of the path; the last one is the bonus token, new root of the next step.
    """
    path, emitted, node = [0], [], 0
    while True:
        token = token_after(node)
        emitted.append(token)
        child = tree.child(node, token)
        if child is None:
            return path, emitted
        path.append(child)
        node = child


def truncate_at_stop(
    path: list[int], emitted: list[int], limit: int, stop_token_ids: Collection[int]
) -> tuple[list[int], list[int], bool]:
    """Ends the emission at `limit` tokens or right after the first stop token; says whether decoding is over."""
    for place, token in enumerate(emitted[:limit]):
        if token in stop_token_ids:
            return path[: place + 1], emitted[: place + 1], True
    return path[:limit], emitted[:limit], len(emitted) >= limit


class TargetOutputs:
    """What one verification says of every node of a tree.

    Args:
        logits: [nodes at least, vocab], on the model's device.
    """

    __slots__ = ("logits",)

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits

    def token_after(self, node: int) -> int:
        """The target's token y."""
        raise NotImplementedError

    def rows(self, nodes: list[int]) -> tuple[list[list[int]], list[list[float]]]:
        """Ids and logits of the target's TOP_SUCCESSORS best successors after `nodes` (ascending): what drafters recycle."""
        n = len(nodes)
        if nodes[-1] == n - 1:
            return top_rows(self.logits[:n])
        return top_rows(self.logits.index_select(0, torch.tensor(nodes, device=self.logits.device)))


class KnownTokens(TargetOutputs):
    """All tokens found out at once."""

    __slots__ = ("_tokens",)

    def __init__(self, logits: Tensor, tokens: list[int]) -> None:
        super().__init__(logits)
        self._tokens = tokens

    def token_after(self, node: int) -> int:
        return self._tokens[node]


class GreedyTokens(TargetOutputs):
    """On the host, the best of each row asked for."""

    __slots__ = ()

    def token_after(self, node: int) -> int:
        return greedy_token(self.logits[node])


class SampledTokens(TargetOutputs):
    """On the host, sampled with the noise of the row's position.

    Args:
        first: emitted position of what follows the root. depths: of the nodes.
    """

    __slots__ = ("_depths", "_first", "_noise", "_sampling")

    def __init__(self, logits: Tensor, sampling: Sampling, noise: GumbelNoise, first: int, depths: list[int]) -> None:
        super().__init__(logits)
        self._sampling, self._noise, self._first, self._depths = sampling, noise, first, depths

    def token_after(self, node: int) -> int:
        return self._sampling.token(self.logits[node], self._noise.row(self._first + self._depths[node]))


class GreedyRows(TargetOutputs):
    """On the host where successors will be asked for too, of which the target's token is the best: one search for both."""

    __slots__ = ("_rows",)

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits)
        self._rows: dict[int, SuccessorRow] = {}

    def token_after(self, node: int) -> int:
        ids, values = self._row(node)
        best, n_best = values[0], 1
        while n_best < len(values) and values[n_best] == best:
            n_best += 1
        if n_best == len(values):  # more may be as good
            return greedy_token(self.logits[node])
        return min(ids[:n_best])

    def rows(self, nodes: list[int]) -> tuple[list[list[int]], list[list[float]]]:
        rows = [self._row(node) for node in nodes]
        return [ids for ids, _ in rows], [values for _, values in rows]

    def _row(self, node: int) -> SuccessorRow:
        row = self._rows.get(node)
        if row is None:
            values, ids = _best(self.logits[node])
            row = self._rows[node] = ids.tolist(), values.tolist()
        return row


def top_rows(logits: Tensor) -> tuple[list[list[int]], list[list[float]]]:
    """Ids and logits of the TOP_SUCCESSORS largest entries of each row of logits [rows, vocab], largest first."""
    values, ids = _best(logits)
    return ids.tolist(), values.tolist()


def _best(logits: Tensor) -> tuple[Tensor, Tensor]:
    values, ids = logits.topk(min(TOP_SUCCESSORS, logits.shape[-1]), dim=-1)
    return values, ids
