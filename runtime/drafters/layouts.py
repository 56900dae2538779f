"""Fixed layouts: which ranks of which node's proposals a tree holds, decided before any token is known.

A layout lists (parent, rank) of each node but the root, which is node 0; entry i is node i + 1, a parent precedes its children, and
a rank is listed only after the ranks before it. What it is made from is rank acceptance: entry r is the probability that the
target's token is the proposal of rank r (Sequoia, arXiv 2402.12374, calls it the positional acceptance vector).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.model.plan import Plan

Layout = list[tuple[int, int]]

NEXT_RANK_SHARE = 0.3
"""Of the target's tokens that a self-drafter's earlier ranks miss, the share the next rank finds: measured on the reference model."""

LEAST_ACCEPTANCE = 1e-3


def self_rank_acceptance(first: float, width: int) -> list[float]:
    """Built-in rank acceptance [width], falling, of a self-drafter whose best token is accepted with probability `first`.

    A score of 0 or 1 on few recordings is neither: every rank keeps a chance, so that layouts can be compared.
    """
    first = min(max(first, LEAST_ACCEPTANCE), 1.0 - LEAST_ACCEPTANCE)
    share, found = min(NEXT_RANK_SHARE, first), [first]
    for _ in range(1, width):
        found.append(share * (1 - sum(found)))
    return found


def static_layout(n_nodes: int, max_depth: int, rank_acceptance: list[float] | tuple[float, ...]) -> Layout:
    """The `n_nodes` nodes most probable to be accepted, in order of falling probability; `rank_acceptance` falls too."""
    layout: Layout = []
    heap = [(-rank_acceptance[0], 0, 0, 1)]
    while heap and len(layout) < n_nodes:
        mass, parent, rank, depth = heapq.heappop(heap)
        layout.append((parent, rank))
        node = len(layout)
        if rank + 1 < len(rank_acceptance):
            heapq.heappush(heap, (mass / rank_acceptance[rank] * rank_acceptance[rank + 1], parent, rank + 1, depth))
        if depth < max_depth:
            heapq.heappush(heap, (mass * rank_acceptance[0], node, 0, depth + 1))
    return layout


@dataclass(frozen=True, slots=True)
class Level:
    """What one forward adds to a tree: proposals of some nodes of equal depth."""

    nodes: list[int]
    """Nodes that get children."""
    children: list[tuple[int, int]]
    """(place of the parent in `nodes`, rank) of the nodes added, in order."""

    @property
    def width(self) -> int:
        """Proposals needed of each node."""
        return max(rank for _, rank in self.children) + 1


def levels(layout: Layout) -> list[Level]:
    """The layout from the root down, its nodes renumbered in that order."""
    depths = [0]
    for parent, _ in layout:
        depths.append(depths[parent] + 1)
    order = sorted(range(len(depths)), key=depths.__getitem__)
    place = {node: i for i, node in enumerate(order)}
    found: list[Level] = []
    for node in order[1:]:
        parent, rank = place[layout[node - 1][0]], layout[node - 1][1]
        if depths[node] > len(found):
            found.append(Level([], []))
        level = found[-1]
        if parent not in level.nodes:
            level.nodes.append(parent)
        level.children.append((level.nodes.index(parent), rank))
    return found


def grow(plan: Plan, sequence: Sequence, tree: CandidateTree, found: list[Level]) -> None:
    """Fills levels into a tree of a lone root, one masked forward each; its nodes are numbered as theirs."""
    for level in found:
        proposals = sequence.propose(plan, tree, level.nodes, level.width)
        for place, rank in level.children:
            tree.add(level.nodes[place], proposals[place].tokens[rank], plan.name)
