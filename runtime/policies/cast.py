"""CAST (Hong et al., arXiv 2510.26577): a dynamic tree that grows while its confidence is worth what a forward costs here.

Confidence v of a node is the product of the drafter's probabilities on its path. With S_D and S_T the predicted times of a plan's
and the target's forward over k tokens at this context, and costs c in target steps of one token:

    breadth  of a layer's nodes, most confident first, expand while (u_k - u_k') / (c_k - c_k') > C1, c_k = S_D[k] / S_T[1]
    depth    expand the next layer while mean(last R of u_{i+1} / u_i) * u_i / c_i >= C2
    rerank   of all nodes, verify while (u_k - u_k') / (c_k - c_k') > C3, c_k = S_T[k] / S_T[1]

u is the sum of v; k steps through the query buckets, between which costs do not change. Nodes that are not expanded stay candidates
of the rerank. C1, C2, C3 and R are not published. Ours: 1, what autoregressive decoding gives for the cost, and R 8. Published for
an EAGLE head, whose layers add the 10 best tokens a node; the paper's batch is one sequence here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Self

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.model.forward_input import CONTEXT_STEP, QUERY_BUCKETS, bucket
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import ForwardMs, Policy, PolicyContext


@dataclass(slots=True)
class Candidates:
    """All that was drafted in a step, by column; the root is first and a parent precedes its children."""

    tokens: list[int]
    parents: list[int] = field(default_factory=lambda: [-1])
    confidences: list[float] = field(default_factory=lambda: [1.0])

    def add(self, parent: int, tokens: list[int], chances: list[float]) -> None:
        mass = self.confidences[parent]
        self.tokens += tokens
        self.parents += [parent] * len(tokens)
        self.confidences += [mass * chance for chance in chances]

    def best(self, start: int, count: int) -> tuple[list[int], list[float]]:
        """The `count` most confident from index `start` on, and their confidences; of equals the earlier comes first."""
        order = sorted(range(start, len(self.tokens)), key=self.confidences.__getitem__, reverse=True)[:count]
        return order, [self.confidences[i] for i in order]


def affordable(confidences: list[float], cost: Callable[[int], float], threshold: float) -> int:
    """How many of the most confident to keep: further buckets while confidence over cost gained stays above `threshold`.

    Args:
        confidences: falling; the first is always kept.
        cost: of a forward over k tokens, in target steps; called with bucket sizes.
    """
    kept = min(1, len(confidences))
    for smaller, size in pairwise(QUERY_BUCKETS):
        if kept == len(confidences):
            break
        gained = sum(confidences[kept:size])
        if gained <= threshold * (cost(size) - cost(smaller)):
            break
        kept = min(size, len(confidences))
    return kept


class Cast(Policy):
    """A tree that grows by cost.

    Args:
        width: best tokens drafted a node. max_nodes: bound of the verified tree and of the expanded nodes, root included.
        breadth_threshold, depth_threshold, rerank_threshold: C1, C2, C3. recent: R.
    """

    summary = "a tree over a plan that grows while its confidence is worth its cost"

    def __init__(
        self,
        plan: Plan,
        target_plan: Plan,
        forward_ms: ForwardMs,
        width: int = 10,
        max_nodes: int = 64,
        max_depth: int = 8,
        breadth_threshold: float = 1.0,
        depth_threshold: float = 1.0,
        rerank_threshold: float = 1.0,
        recent: int = 8,
    ) -> None:
        self._plan = plan
        self._target_plan = target_plan
        self._forward_ms = forward_ms
        self._width, self._max_nodes, self._max_depth = width, max_nodes, max_depth
        self._breadth_threshold, self._depth_threshold = breadth_threshold, depth_threshold
        self._rerank_threshold = rerank_threshold
        self._ratios: deque[float] = deque(maxlen=recent)

    @classmethod
    def build(cls, context: PolicyContext, drafter: str = "", **parameters: Any) -> Self:
        plan, target = context.plan(drafter), context.target
        return cls(plan, target.full_plan, context.forward_ms(), **parameters)

    def begin(self, sequence: Sequence) -> None:
        if not self.keeps_learned:
            self._ratios.clear()
        self._step = -1

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        self._look_up_costs(sequence.committed)
        return self._rerank(self._expand(sequence, min(max_depth, self._max_depth)))

    def _look_up_costs(self, context: int) -> None:
        """S_D and S_T over S_T[1], by bucket; anew when the context enters another step."""
        if context // CONTEXT_STEP == self._step:
            return
        self._step = context // CONTEXT_STEP
        unit = self._forward_ms(self._target_plan, 1, context)
        sizes = [size for size in QUERY_BUCKETS if size <= 2 * self._max_nodes]
        self._draft_cost = {size: self._forward_ms(self._plan, size, context) / unit for size in sizes}
        self._verify_cost = {size: self._forward_ms(self._target_plan, size, context) / unit for size in sizes}

    def _expand(self, sequence: Sequence, max_depth: int) -> Candidates:
        """Layers of candidates by the rules of breadth and depth. Only nodes to be expanded need a place in a tree."""
        drafted, tree = Candidates([sequence.tokens[-1]]), CandidateTree(sequence.tokens[-1])
        node_of, layer, layer_mass = {0: 0}, [0], 1.0
        for depth in range(1, max_depth + 1):
            first = len(drafted.tokens)
            nodes = [node_of[i] for i in layer]
            proposals = sequence.propose(self._plan, tree, nodes, self._width, probabilities=True)
            for i, proposal in zip(layer, proposals, strict=True):
                drafted.add(i, proposal.tokens, proposal.probabilities)
            if depth == max_depth:
                break
            layer, masses = drafted.best(first, self._max_nodes - len(tree))
            n_kept = affordable(masses, self._draft_cost.__getitem__, self._breadth_threshold)
            mass = sum(masses[:n_kept])
            if not mass:
                break
            self._ratios.append(mass / layer_mass)
            if mass * sum(self._ratios) / len(self._ratios) < self._depth_threshold * self._draft_cost[bucket(n_kept)]:
                break
            del layer[n_kept:]
            layer_mass = mass
            for i in layer:
                node_of[i] = tree.add(node_of[drafted.parents[i]], drafted.tokens[i], self._plan.name)
        return drafted

    def _rerank(self, drafted: Candidates) -> CandidateTree:
        """The tree of the candidates worth verifying; no child is more confident than its parent, so it is one."""
        order, masses = drafted.best(0, self._max_nodes)
        kept = sorted(order[: affordable(masses, self._verify_cost.__getitem__, self._rerank_threshold)])
        tree = CandidateTree(drafted.tokens[0])
        node_of = {0: 0}
        for i in kept[1:]:
            parent = node_of[drafted.parents[i]]
            node_of[i] = tree.add(parent, drafted.tokens[i], self._plan.name, drafted.confidences[i])
        return tree
