"""Sequoia (Chen et al., arXiv 2402.12374): the best tree for a rank acceptance vector, and the best size and depth for a device.

Tree (section 3.1): with P[b] the probability that the target's token is the proposal of rank b, the largest expected number of
tokens of n nodes whose root has b children is

    T[n, b] = max over m of T[n - m, b - 1] + P[b] * max over j of T[m, j]

and, with the depth limited to d, the subtrees on the right are those of depth d - 1. Size and depth (section 3.3): the largest
G(n, d) / (t(n) + d c), t(n) a verification of n nodes and c a draft forward, both predicted for this device at this context. Ours: c
is that of the mean level, n / d nodes, and not of a single one.

Published: P counted offline once; up to 128 nodes, 10 deep here. The profile knows the acceptance of a plan's best token, the
built-in curve gives the ranks after it. Tuned: P is estimated on line and the tree made anew every `refresh_steps` steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from casspec.runtime.decoding.acceptance import AcceptanceTable
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.layouts import Layout, Level, grow, levels, self_rank_acceptance
from casspec.runtime.model.forward_input import QUERY_BUCKETS
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import ForwardMs, Policy, PolicyContext, VerifyResult
from casspec.runtime.policies.static_tree import BUILTIN_ACCEPTANCE, first_acceptance


@dataclass(frozen=True, slots=True)
class OptimalTrees:
    """The dynamic programme, solved: `tokens` [depth + 1, nodes + 1] is G(n, d), -inf where no such tree exists."""

    tokens: np.ndarray
    n_children: np.ndarray
    """[depth + 1, nodes + 1]: children of the root of the best tree."""
    last_share: np.ndarray
    """[depth + 1, branches + 1, nodes + 1]: nodes of the last child's subtree."""

    def layout(self, n_nodes: int, depth: int) -> Layout:
        """The best tree of `n_nodes` nodes, root included, no deeper than `depth`."""
        found: Layout = []
        waiting = deque([(0, n_nodes, depth)])
        while waiting:
            parent, n, d = waiting.popleft()
            shares = []
            for branch in range(int(self.n_children[d, n]), 0, -1):
                shares.append(int(self.last_share[d, branch, n]))
                n -= shares[-1]
            for rank, share in enumerate(reversed(shares)):
                found.append((parent, rank))
                waiting.append((len(found), share, d - 1))
        return found


def optimal_trees(rank_acceptance: list[float], max_nodes: int, max_depth: int) -> OptimalTrees:
    """Solves T for all sizes up to `max_nodes`, root included, and all depths up to `max_depth`."""
    size, width = max_nodes + 1, len(rank_acceptance)
    chance = np.maximum(rank_acceptance, 1e-9)  # zero times minus infinity is no number
    tokens = np.full((max_depth + 1, size), -np.inf)
    n_children = np.zeros((max_depth + 1, size), np.int64)
    last_share = np.zeros((max_depth + 1, width + 1, size), np.int64)
    tokens[0, 1] = 1.0
    n, m = np.ogrid[:size, :size]
    rest = np.where(m < n, n - m, 0)  # nobody's tree has no node: entry 0 of every row is -inf
    for d in range(1, max_depth + 1):
        by_children = np.full((width + 1, size), -np.inf)
        by_children[0, 1] = 1.0
        for b in range(1, width + 1):
            value = by_children[b - 1, rest] + chance[b - 1] * tokens[d - 1]
            last_share[d, b] = value.argmax(1)
            by_children[b] = value.max(1)
        n_children[d] = by_children.argmax(0)
        tokens[d] = by_children.max(0)
    return OptimalTrees(tokens, n_children, last_share)


def best_shape(
    tokens: np.ndarray, sizes: list[int], verify_ms: Callable[[int], float], draft_ms: Callable[[int], float]
) -> tuple[int, int]:
    """(nodes, depth) of the largest G(n, d) / (t(n) + d c) over `sizes`; depth 0 is a lone root.

    Args:
        tokens: G as in `OptimalTrees`.
        verify_ms, draft_ms: a forward of the target and of the plan over n nodes.
    """
    best, best_rate = (1, 0), 0.0
    for n in sizes:
        n_ms = verify_ms(n)
        for d in range(min(n, len(tokens))):
            rate = float(tokens[d, n]) / (n_ms + (d * draft_ms(-(-n // d)) if d else 0.0))
            if rate > best_rate:
                best, best_rate = (n, d), rate
    return best


class Sequoia(Policy):
    """The optimal tree, made anew for every request.

    Args:
        acceptance: of the plan's best token, where P starts.
        max_nodes, max_depth, width: bounds of a tree, root included in the nodes.
        refresh_steps: steps after which the tree is made anew from P estimated on line; 0 never.
    """

    summary = "the best tree over a plan for this device, one forward a level"

    def __init__(
        self,
        plan: Plan,
        target_plan: Plan,
        forward_ms: ForwardMs,
        acceptance: float = BUILTIN_ACCEPTANCE,
        max_nodes: int = 127,
        max_depth: int = 10,
        width: int = 8,
        refresh_steps: int = 0,
    ) -> None:
        self._plan = plan
        self._target_plan = target_plan
        self._forward_ms = forward_ms
        self._ranks = AcceptanceTable("rank", self_rank_acceptance(acceptance, width))
        self._sizes = [size for size in QUERY_BUCKETS if size <= max_nodes]
        self._max_depth = max_depth
        self._refresh_steps = refresh_steps

    @classmethod
    def build(cls, context: PolicyContext, drafter: str = "", **parameters: Any) -> Self:
        plan = context.plan(drafter)
        parameters = {"acceptance": first_acceptance(context, plan)} | parameters
        return cls(plan, context.target.full_plan, context.forward_ms(), **parameters)

    def begin(self, sequence: Sequence) -> None:
        if not self.keeps_learned:
            self._ranks.reset()
        self._make_tree(sequence.committed)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree = CandidateTree(sequence.tokens[-1])
        grow(self._plan, sequence, tree, self._levels[:max_depth])
        return tree

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        if not self._refresh_steps:
            return
        for node, token in zip(result.path, result.emitted, strict=True):
            # Children stand in order of rank; a leaf has none and is no trial.
            drafted = [child for child in result.tree.children(node) if child < result.drafted]
            for rank, child in enumerate(drafted):
                self._ranks.update(rank, result.tree.tokens[child] == token)
        self._steps += 1
        if self._steps == self._refresh_steps:
            self._make_tree(sequence.committed)

    def _make_tree(self, context: int) -> None:
        self._steps = 0
        trees = optimal_trees(self._ranks.estimate, self._sizes[-1], self._max_depth)
        shape = best_shape(
            trees.tokens,
            self._sizes,
            verify_ms=lambda n: self._forward_ms(self._target_plan, n, context),
            draft_ms=lambda n: self._forward_ms(self._plan, n, context),
        )
        self._levels: list[Level] = levels(trees.layout(*shape))
