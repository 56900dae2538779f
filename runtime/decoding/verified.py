"""What the target says of a verified tree: its token after each node, and its best successors there.

Only nodes on one path are asked about, and most of a tree lies beside it. So on the host answers are made when they are asked for,
row by row, each by the same operations whatever the tree around it. A device answers for all nodes at once and is waited for once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sampling import Sampling, greedy_token
from casspec.runtime.drafters.token_recycling import WIDTH, Row


class Verified:
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
        """Ids and logits of the target's WIDTH best successors after `nodes` (ascending): what drafters recycle."""
        n = len(nodes)
        if nodes[-1] == n - 1:
            return top_rows(self.logits[:n])
        return top_rows(self.logits.index_select(0, torch.tensor(nodes, device=self.logits.device)))


class KnownTokens(Verified):
    """All tokens found out at once."""

    __slots__ = ("_tokens",)

    def __init__(self, logits: Tensor, tokens: list[int]) -> None:
        super().__init__(logits)
        self._tokens = tokens

    def token_after(self, node: int) -> int:
        return self._tokens[node]


class GreedyTokens(Verified):
    """On the host, the best of each row asked for."""

    __slots__ = ()

    def token_after(self, node: int) -> int:
        return greedy_token(self.logits[node])


class SampledTokens(Verified):
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


class GreedyRows(Verified):
    """On the host where successors will be asked for too, of which the target's token is the best: one search for both."""

    __slots__ = ("_rows",)

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits)
        self._rows: dict[int, Row] = {}

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

    def _row(self, node: int) -> Row:
        row = self._rows.get(node)
        if row is None:
            values, ids = _best(self.logits[node])
            row = self._rows[node] = ids.tolist(), values.tolist()
        return row


def top_rows(logits: Tensor) -> tuple[list[list[int]], list[list[float]]]:
    """Ids and logits of the WIDTH largest entries of each row of logits [rows, vocab], largest first."""
    values, ids = _best(logits)
    return ids.tolist(), values.tolist()


def _best(logits: Tensor) -> tuple[Tensor, Tensor]:
    values, ids = logits.topk(min(WIDTH, logits.shape[-1]), dim=-1)
    return values, ids
