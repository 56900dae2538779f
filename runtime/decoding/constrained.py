"""A drafted tree inside a grammar: what it rules out is not verified, what it forces is drafted for free.

The grammar is followed along every path of the tree. A node that may not stand there goes, with all below it. Where a path ends and the
grammar goes on in one way only, its tokens are added: below the root always, elsewhere where the path is likely or the only one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.decoding.verify import TargetOutputs
from casspec.runtime.text.grammar_state import GrammarState

FORCED = "grammar"
"""The drafter of forced tokens."""

MOST_FORCED = 32
"""Forced tokens in a row; more come with the next step."""

LOOKED_AT = 12
"""Best tokens of a drafter's row, among which those that the grammar leaves are looked for."""

LIKELY = 0.3
"""Probability of a path among several, from which on its forced tokens are worth their rows."""


@dataclass(slots=True)
class ConstrainedTree:
    """A tree inside its grammar.

    Attributes:
        drafted: what was drafted, and the forced tokens at its end. n_drafted: nodes without those.
        verified: what of it is verified. places: of its nodes, those in `drafted`, ascending.
    """

    drafted: CandidateTree
    n_drafted: int
    verified: CandidateTree
    places: list[int]

    @classmethod
    def free(cls, tree: CandidateTree) -> ConstrainedTree:
        """As it was drafted, where there is no grammar."""
        return cls(tree, len(tree), tree, list(range(len(tree))))

    @classmethod
    def of(cls, tree: CandidateTree, grammar: GrammarState, max_depth: int, most_nodes: int) -> ConstrainedTree:
        """Adds forced tokens to `tree`, for as long as it has up to `most_nodes` nodes and none deeper than `max_depth`."""
        n_drafted = len(tree)
        kept = _allowed(tree, grammar)
        parents = {tree.parents[node] for node in kept}
        leaves = [node for node in kept if node not in parents]
        for leaf in leaves:
            if leaf == 0 or len(leaves) == 1 or tree.probabilities[leaf] >= LIKELY:
                room = min(max_depth - tree.depths[leaf], most_nodes - len(tree), MOST_FORCED)
                _force(tree, leaf, grammar, room)
        kept += range(n_drafted, len(tree))
        whole = len(kept) == len(tree)
        return cls(tree, n_drafted, tree if whole else tree.selected(kept), kept)

    def of_drafted(self, path: list[int]) -> list[int]:
        """Nodes of `verified`, as nodes of `drafted`."""
        return [self.places[node] for node in path]

    @property
    def ruled_out(self) -> frozenset[int]:
        """Nodes of `drafted` that were not verified."""
        if self.verified is self.drafted:
            return frozenset()
        return frozenset(range(len(self.drafted))).difference(self.places)

    def outputs(self, outputs: TargetOutputs) -> TargetOutputs:
        """What the target said of `verified`, asked for by nodes of `drafted`."""
        return outputs if self.verified is self.drafted else _OfDrafted(outputs, self.places)


def best_allowed(
    grammar: GrammarState, suffixes: Sequence[Sequence[int]], ids: np.ndarray, scores: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """The best tokens that the grammar leaves after each of `suffixes`, in memory of their own.

    Args:
        ids, scores: of the best tokens without it [suffixes, any], best first. n: how many are wanted.

    Returns:
        (ids, scores) [suffixes, n], and the rows that do not show so many. What stands beside a forced token has score -inf.
    """
    left_ids, left_scores, unclear = ids[:, :n].copy(), scores[:, :n].copy(), list[int]()
    for row, suffix in enumerate(suffixes):
        forced = grammar.forced(suffix)
        if forced:
            others = [token for token in ids[row].tolist() if token != forced[0]]
            left_ids[row] = [forced[0], *others][: left_ids.shape[1]]
            left_scores[row, 1:] = -np.inf
        elif grammar.follows(suffix):
            allowed = (place for place, token in enumerate(ids[row].tolist()) if grammar.goes_on(suffix, token))
            places = list(islice(allowed, n))
            if len(places) < n:
                unclear.append(row)
            else:
                left_ids[row], left_scores[row] = ids[row, places], scores[row, places]
    return left_ids, left_scores, unclear


def _allowed(tree: CandidateTree, grammar: GrammarState) -> list[int]:
    """Nodes whose paths the grammar allows, ascending, the root first. Paths are followed one after the other."""
    kept, pending = list[int](), [(0, list[int]())]
    while pending:
        node, path = pending.pop()
        if grammar.follows(path):
            kept.append(node)
            pending += [(child, [*path, tree.tokens[child]]) for child in tree.children(node)]
    return sorted(kept)


def _force(tree: CandidateTree, leaf: int, grammar: GrammarState, room: int) -> None:
    path = tree.path_tokens(leaf)[1:]
    node, forced = leaf, grammar.forced(path)[: max(room, 0)]
    if forced and grammar.is_complete([*path, *forced]):
        forced.pop()  # the text ends with it, so nothing is asked of it
    for token in forced:
        node = tree.add(node, token, FORCED, tree.probabilities[leaf])


class _OfDrafted(TargetOutputs):
    """By nodes of a tree of which only some were verified.

    Args:
        places: of the verified nodes, those in the tree.
    """

    __slots__ = ("_outputs", "_verified")

    def __init__(self, outputs: TargetOutputs, places: list[int]) -> None:
        super().__init__(outputs.logits)
        self._outputs = outputs
        self._verified = {place: node for node, place in enumerate(places)}

    def token_after(self, node: int) -> int:
        return self._outputs.token_after(self._verified[node])

    def rows(self, nodes: list[int]) -> tuple[list[list[int]], list[list[float]]]:
        return self._outputs.rows([self._verified[node] for node in nodes])

    def row_arrays(self, nodes: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return self._outputs.row_arrays([self._verified[node] for node in nodes])
