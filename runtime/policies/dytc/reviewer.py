"""A self-drafter inside a cascade: what it says of a tree, and what is known of how often that is right."""

from __future__ import annotations

import numpy as np

from casspec.runtime.decoding.acceptance import AcceptanceTable, confidence_bucket
from casspec.runtime.decoding.sequence import Sequence
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
    """

    def __init__(self, plan: Plan, table: AcceptanceTable, prior_acceptance: float) -> None:
        self.plan = plan
        self.table = table
        self.name = plan.name
        self._prior_acceptance = prior_acceptance
        self._said: dict[int, list[tuple[int, int]]] = {}
        self.reset()

    def reset(self) -> None:
        """Back to the offline acceptance."""
        self.table.reset()
        self._trials, self._accepted = START_TRIALS, START_TRIALS * self._prior_acceptance

    def begin_step(self) -> None:
        """A new tree: nothing said yet."""
        self._said = {}

    def acceptance(self, optimism: float) -> float:
        """Mean acceptance of its best token, raised by `optimism` standard errors."""
        mean = self._accepted / self._trials
        return min(mean + optimism * (mean * (1 - mean) / self._trials) ** 0.5, 0.99)

    def review(self, sequence: Sequence, tree: CandidateTree, nodes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """One forward; tokens (int64) and chances (float64) [nodes, WIDTH at most] of its best tokens after each of `nodes`."""
        said = self.propose(sequence, tree, nodes)
        self._said.update(zip(nodes, said, strict=True))
        words = np.array(said, np.int64)
        return np.ascontiguousarray(words[:, :, 0]), self.table.estimates[words[:, :, 1]]

    def propose(self, sequence: Sequence, tree: CandidateTree, nodes: list[int]) -> list[list[tuple[int, int]]]:
        """(token, confidence cell) of its best tokens after each of `nodes`."""
        said = []
        for proposal in sequence.propose(self.plan, tree, nodes, WIDTH):
            best, scores = proposal.scores[0], proposal.scores
            cells = [
                confidence_bucket(proposal.gap),
                *[confidence_bucket(score - best) for score in scores[1:WIDTH]],
            ]
            said.append(list(zip(proposal.tokens, cells, strict=True)))
        return said

    def observe(self, node: int, token: int) -> None:
        """The target's token after a node that was visited."""
        said = self._said.get(node)
        if said is None:
            return
        for proposed, cell in said:
            self.table.update(cell, proposed == token)
        self._accepted = self._accepted * ACCEPTANCE_MEMORY + (said[0][0] == token)
        self._trials = self._trials * ACCEPTANCE_MEMORY + 1
