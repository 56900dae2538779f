"""A self-drafter inside a cascade: what it says of a tree, and what is known of how often that is right."""

from __future__ import annotations

import numpy as np

from casspec.runtime.compiled import compiled, part
from casspec.runtime.decoding import acceptance
from casspec.runtime.decoding.acceptance import CONFIDENCE_EDGES, AcceptanceTable
from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.model.plan import Plan

WIDTH = 2
"""Tokens it proposes after a node: the second is worth a sibling where the first is uncertain."""

START_TRIALS = 10.0
"""Trials the offline acceptance counts for when a request begins."""

ACCEPTANCE_MEMORY = 0.98
"""Weight older trials keep of the running acceptance when a new one arrives."""


class Reviewer:
    """A plan that reviews trees.

    Args:
        table: cells by confidence of a proposed token.
        prior_acceptance: offline acceptance of its first token.

    Attributes:
        trials, right: its best tokens that came to be compared with the target's, and those that were it; whoever reads them begins anew.
        said: int64 [MAX_TREE_NODES, WIDTH, 2]: (token, confidence cell) by node of the tree, best first, -1 where it said nothing.
    """

    def __init__(self, plan: Plan, table: AcceptanceTable, prior_acceptance: float) -> None:
        self.plan = plan
        self.table = table
        self.name = plan.name
        self._prior_acceptance = prior_acceptance
        self.trials = self.right = 0
        self.said = np.full((MAX_TREE_NODES, WIDTH, 2), -1, np.int64)
        self.reset()

    def reset(self) -> None:
        """Back to the offline acceptance."""
        self.table.reset()
        self._trials, self._accepted = START_TRIALS, START_TRIALS * self._prior_acceptance

    def begin_step(self) -> None:
        """A new tree: nothing said yet."""
        self.said[:, 0, 0] = -1

    def acceptance(self, optimism: float) -> float:
        """Mean acceptance of its best token, raised by `optimism` standard errors."""
        mean = self._accepted / self._trials
        return min(mean + optimism * (mean * (1 - mean) / self._trials) ** 0.5, 0.99)

    def review(self, sequence: Sequence, tree: CandidateTree, nodes: np.ndarray) -> None:
        """One forward; its best tokens after each of `nodes` (int64), and how sure it is of them, are then in `said`."""
        hear(nodes, *self.propose(sequence, tree, nodes.tolist()), self.said)

    def propose(self, sequence: Sequence, tree: CandidateTree, nodes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and scores [nodes, WIDTH + 1] of its best after each of `nodes`."""
        return sequence.best_after(self.plan, tree, nodes, WIDTH + 1)

    def observe(self, node: int, token: int) -> None:
        """The target's token after a node that was visited."""
        said = self.said[node].tolist()
        if said[0][0] < 0:
            return
        for proposed, cell in said:
            if proposed >= 0:
                self.table.update(cell, proposed == token)
        self.trials += 1
        self.right += said[0][0] == token
        self._accepted = self._accepted * ACCEPTANCE_MEMORY + (said[0][0] == token)
        self._trials = self._trials * ACCEPTANCE_MEMORY + 1


@part
def _cell(gap):  # type: ignore[no-untyped-def]
    """`confidence_bucket`."""
    cell = 0
    for edge in CONFIDENCE_EDGES:
        cell += edge <= gap
    return cell


@compiled("void(int64[::1], int64[:, ::1], float32[:, ::1], int64[:, :, ::1])", parts_of=[acceptance])
def hear(nodes: np.ndarray, tokens: np.ndarray, scores: np.ndarray, said: np.ndarray) -> None:
    """Writes what a plan says after each of `nodes`: (token, confidence cell), best first, -1 past the last.

    Args:
        tokens, scores: [nodes, most], best first; the last one is there to be compared with.
        said: [MAX_TREE_NODES, any, 2].
    """
    width = min(said.shape[1], tokens.shape[1] - 1)
    for i in range(len(nodes)):
        words, best = said[nodes[i]], np.float64(scores[i, 0])
        words[:, 0] = -1
        for rank in range(width):
            gap = np.float64(scores[i, rank]) - best if rank else best - np.float64(scores[i, 1])
            words[rank, 0], words[rank, 1] = tokens[i, rank], _cell(gap)
