"""Lossless verification of a tree: what the target says of it. What was proposed can change the speed, never the text.

Only nodes on one path are asked about, and most of a tree lies beside it. So on the host answers are made when they are asked for, for the
rest of their path at once. A device answers for all nodes at once and is waited for once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.decoding.host_search import HostSearch, top_rows
from casspec.runtime.decoding.tree import CandidateTree


def accept(tree: CandidateTree, token_after: Callable[[int], int]) -> tuple[list[int], list[int]]:
    """The accepted path and the tokens it emits, where nothing but the tree ends it (`runtime/decoding/walk.py` is of a request).

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

    def row_arrays(self, nodes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """The same as int64 and float32 arrays [nodes, most], valid until the next step."""
        ids, logits = self.rows(nodes)
        return np.array(ids, np.int64), np.array(logits, np.float32)


class KnownTokens(TargetOutputs):
    """All tokens found out at once, when the first is asked for.

    Args:
        find: gives them. top: the best successors after nodes, as `row_arrays`; by default they are looked for on the host.
    """

    __slots__ = ("_find", "_tokens", "_top")

    def __init__(
        self,
        logits: Tensor,
        find: Callable[[], list[int]],
        top: Callable[[list[int]], tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> None:
        super().__init__(logits)
        self._find, self._top = find, top
        self._tokens: list[int] | None = None

    def token_after(self, node: int) -> int:
        if self._tokens is None:
            self._tokens = self._find()
        return self._tokens[node]

    def rows(self, nodes: list[int]) -> tuple[list[list[int]], list[list[float]]]:
        if self._top is None:
            return super().rows(nodes)
        ids, logits = self._top(nodes)
        return ids.tolist(), logits.tolist()

    def row_arrays(self, nodes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return super().row_arrays(nodes) if self._top is None else self._top(nodes)


class HostTokens(TargetOutputs):
    """On the host, the rows of a path searched when its first node is asked about.

    Args:
        search: of the text. tree: what was verified. first_position: emitted position of what follows the root; None when greedy.
        keep_top: successors will be asked for too.
    """

    __slots__ = ("_first_position", "_keep_top", "_search", "_tokens", "_tree", "_walk", "_walked")

    def __init__(
        self, logits: Tensor, search: HostSearch, tree: CandidateTree, first_position: int | None, keep_top: bool
    ) -> None:
        super().__init__(logits)
        self._search, self._tree, self._first_position, self._keep_top = search, tree, first_position, keep_top
        self._tokens: dict[int, int] = {}
        self._walked: list[int] = []  # nodes whose rows the search holds until its next walk
        self._walk = 0

    def token_after(self, node: int) -> int:
        if node not in self._tokens:
            first = self._first_position
            position = -1 if first is None else first + self._tree.depths[node]
            found = self._search.walk(self.logits, self._tree, node, position, self._keep_top)
            self._tokens.update(found)
            self._walked, self._walk = [walked for walked, _ in found], self._search.walks
        return self._tokens[node]

    def rows(self, nodes: list[int]) -> tuple[list[list[int]], list[list[float]]]:
        ids, logits = self.row_arrays(nodes)
        return ids.tolist(), logits.tolist()

    def row_arrays(self, nodes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        held = self._search.walked_rows(len(nodes))
        if held is None or self._walk != self._search.walks or nodes != self._walked[: len(nodes)]:
            ids, logits = super().rows(nodes)
            return np.array(ids, np.int64), np.array(logits, np.float32)
        return held
