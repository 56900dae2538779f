"""The tree one DyTC step grows: which candidates are in, which are on offer, and how probable each is.

A candidate's chance is the probability that the target emits it after its parent, its mass that of the whole path to it. Retrieval offers
candidates at every node for free; a self-drafter that reviewed a node says more, and its word comes first: its own best tokens
take their calibrated chances, and what retrieval had offered beside them shares what is left.

Growth runs over arrays, in the compiled functions of `growth_passes.py`; `tree` follows them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from casspec.runtime.decoding.noise import NoiseRow
from casspec.runtime.decoding.sequence import MAX_TREE_NODES
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.drafters.retrieval import Retrieval
from casspec.runtime.drafters.token_recycling import TokenRecycling
from casspec.runtime.policies.dytc.costs import CostCurve
from casspec.runtime.policies.dytc.growth_passes import (
    ASKED,
    BY,
    CHANCE,
    EMITTED,
    FIRST,
    GAIN,
    INVERSE_TEMPERATURE,
    LEAST,
    LIVE,
    MASS,
    MAX_DEPTH,
    NODES,
    OFFERED,
    OPEN,
    PARENT,
    TOKEN,
    begin,
    grow,
    review,
)

MOST_SAID = 8
"""Tokens that a self-drafter may say after a node."""


class GrowthArrays:
    """Memory of growing trees, one after the other.

    Args:
        branch: of the retrieval.
    """

    def __init__(self, branch: int) -> None:
        offers = MAX_TREE_NODES * (max(branch, 1) + 1)
        candidates = offers + MAX_TREE_NODES * MOST_SAID
        self.nodes, self.numbers = np.zeros((8, MAX_TREE_NODES), np.int64), np.zeros((2, MAX_TREE_NODES))
        self.offers = np.zeros((offers, 2), np.int64)
        self.counts, self.totals = np.zeros(7, np.int64), np.zeros(4)
        self.key, self.asked = np.zeros(1, np.uint64), np.zeros(MAX_TREE_NODES, np.int64)
        heap = np.zeros((candidates, 3), np.int64), np.zeros((candidates, 2))
        self.state = self.nodes, self.numbers, *heap, self.offers, self.counts, self.totals, self.key, self.asked


class TreeGrowth:
    """A growing tree.

    Args:
        retrieval: of the text that the root ends.
        max_depth: of any node.
        min_mass: below it a candidate is not worth handling.
        noise: of the first position being drafted; None when greedy.
        arrays: memory to use, that of a tree nobody asks any more.

    Attributes:
        tree: the nodes; their `probabilities` are the masses they were taken with.
    """

    def __init__(
        self,
        root_token: int,
        retrieval: Retrieval,
        max_depth: int,
        min_mass: float,
        noise: NoiseRow | None,
        inverse_temperature: float,
        arrays: GrowthArrays | None = None,
    ) -> None:
        self.tree = CandidateTree(root_token)
        self.max_depth = max_depth
        self._retrieval = retrieval
        arrays = self._arrays = arrays or GrowthArrays(retrieval.branch)
        arrays.counts[MAX_DEPTH], arrays.counts[EMITTED] = max_depth, -1 if noise is None else noise.position
        arrays.totals[LEAST], arrays.totals[INVERSE_TEMPERATURE] = min_mass, inverse_temperature
        if noise is not None:
            arrays.key[0] = noise.key
        self._proposers = ["", PromptLookup.name, TokenRecycling.name]
        begin(retrieval.state, arrays.state, root_token)

    @property
    def masses(self) -> list[float]:
        """By node."""
        return self._numbers(MASS)

    @property
    def chances(self) -> list[float]:
        """By node."""
        return self._numbers(CHANCE)

    @property
    def gain(self) -> float:
        """Sum of the masses of all nodes but the root."""
        return float(self._arrays.totals[GAIN])

    @property
    def open_mass(self) -> float:
        """Probability that the true path leads into what no drafter has reviewed yet."""
        return float(self._arrays.totals[OPEN])

    def grow(self, curve: CostCurve, rows: int) -> None:
        """Takes candidates, best first, while a larger forward can pay for them; then cuts back to the best size.

        Args:
            rows: what the forward runs already.
        """
        tree, arrays = self.tree, self._arrays
        grow(self._retrieval.state, arrays.state, curve.table, rows)
        first, end = len(tree), int(arrays.counts[NODES])
        columns: Any = arrays.nodes[:, first:end].tolist()
        tokens, parents, proposers = columns[TOKEN], columns[PARENT], columns[BY]
        for token, parent, by, mass in zip(
            tokens, parents, proposers, arrays.numbers[MASS, first:end].tolist(), strict=True
        ):
            tree.add(parent, token, self._proposers[by], mass)

    def best(self, curve: CostCurve) -> list[int]:
        """The nodes worth verifying, ascending: the n of largest mass for the n that gains most over its cost."""
        masses = self.masses
        order = sorted(range(len(masses)), key=masses.__getitem__, reverse=True)  # stable: parents come first
        best_value, best_size, total, begin = -1e9, 1, 0.0, 0
        for size, cost in zip(curve.buckets, curve.costs, strict=True):
            total += sum([masses[node] for node in order[begin:size]])
            if total - cost > best_value:
                best_value, best_size = total - cost, size
            if size >= len(order):
                break
            begin = size
        return sorted(order[:best_size])

    def live(self) -> int:
        """Nodes whose mass is worth handling."""
        return int(self._arrays.counts[LIVE])

    def unreviewed(self) -> np.ndarray:
        """Nodes (int64) that the forward `grow` was asked for computes and that are worth a review; until it is asked again."""
        return self._arrays.asked[: self._arrays.counts[ASKED]]

    def review(self, nodes: np.ndarray, said: np.ndarray, right: np.ndarray, drafter: str) -> None:
        """Takes in what a self-drafter said after each of `nodes` (int64, ascending).

        Args:
            said: int64 [MAX_TREE_NODES, MOST_SAID at most, 2]: by node (token, cell), best first, -1 past the last.
            right: probability by cell.
        """
        if drafter not in self._proposers:
            self._proposers.append(drafter)
        review(self._retrieval.state, self._arrays.state, nodes, said, right, self._proposers.index(drafter))

    def offered(self, node: int) -> list[list[int]]:
        """Retrieval's (token, cell) after a node; none where nobody looked."""
        first, n = self._arrays.nodes[FIRST : OFFERED + 1, node].tolist()
        return self._arrays.offers[first : first + n].tolist() if first >= 0 else []

    def _numbers(self, row: int) -> list[float]:
        return self._arrays.numbers[row, : len(self.tree)].tolist()
