"""Review: a plan judges tokens that something cheaper drafted, before the target does (vertical cascade; CS-Drafting, arXiv 2312.11462).

All drafted tokens are asked about in one forward. The walk goes down while a child is the plan's own token, as verification does,
and ends with one more token of the plan. What did not stand is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil

from casspec.runtime.decoding.sequence import Proposal, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.max_gram import MaxGram
from casspec.runtime.model.plan import Plan

LENIENT_WIDTH = 8
"""Tokens of a plan looked at, at most, when it reviews leniently."""


@dataclass(slots=True)
class Review:
    """What stands of the tokens drafted under one node."""

    nodes: list[int]
    """That node, then the drafted nodes that stand, each under the one before."""
    proposals: list[Proposal]
    """What the plan says after each of them; the best token of the last one goes on from there."""


def add_chain(tree: CandidateTree, node: int, tokens: list[int], drafter: str) -> int:
    """Adds `tokens` one under the other below `node`; returns the last one's node."""
    for token in tokens:
        node = tree.add(node, token, drafter)
    return node


def nucleus(proposal: Proposal, top_p: float) -> Iterator[tuple[int, float]]:
    """(token, probability) in the plan's order until their probabilities sum to `top_p`; at least one."""
    mass = 0.0
    for token, probability in zip(proposal.tokens, proposal.probabilities, strict=True):
        yield token, probability
        mass += probability
        if mass >= top_p:
            return


def walk(tree: CandidateTree, said: Mapping[int, Proposal], start: int, lenience: float = 1.0) -> list[int]:
    """The nodes from `start` down that stand by what a plan `said` after each.

    A child stands when it is the plan's own token. With `lenience` above 1 one also stands when the plan gives it more than
    1 / lenience: the rule p > q / lenience of CS-Drafting for a draft made without doubt, q = 1.
    """
    nodes = [start]
    while True:
        proposal = said[nodes[-1]]
        child = tree.child(nodes[-1], proposal.tokens[0])
        if child is None and lenience > 1:
            likely = zip(proposal.tokens, proposal.probabilities, strict=True)
            tolerated = (tree.child(nodes[-1], token) for token, probability in likely if probability * lenience > 1)
            child = next((node for node in tolerated if node is not None), None)
        if child is None:
            return nodes
        nodes.append(child)


def review(
    sequence: Sequence,
    tree: CandidateTree,
    plan: Plan,
    leaves: list[int],
    first: int,
    width: int = 1,
    lenience: float = 1.0,
    probabilities: bool = False,
) -> list[Review]:
    """One forward over `leaves` and the chains drafted under them, which are the nodes from `first` on, in the order of the leaves.

    Rejected nodes leave the tree. Those that stand keep their slots under the first leaf; under the others they move up, and the
    plan will compute them again.

    Args:
        width, probabilities: what to ask of the plan beyond its own token.
        lenience: see `walk`; 1 is none.
    """
    nodes = [*leaves, *range(first, len(tree))]
    width = max(width, min(ceil(lenience), LENIENT_WIDTH))
    proposals = sequence.propose(plan, tree, nodes, width, probabilities or lenience > 1)
    said = dict(zip(nodes, proposals, strict=True))
    paths = [walk(tree, said, leaf, lenience) for leaf in leaves]
    stood = [[(tree.tokens[node], tree.drafters[node]) for node in path[1:]] for path in paths]
    reviews = [Review(path, [said[node] for node in path]) for path in paths]
    tree.truncate(first + len(stood[0]))
    for reviewed, chain in zip(reviews[1:], stood[1:], strict=True):
        del reviewed.nodes[1:]
        for token, name in chain:
            reviewed.nodes.append(tree.add(reviewed.nodes[-1], token, name))
    return reviews


def vertical_round(
    sequence: Sequence,
    tree: CandidateTree,
    plan: Plan,
    bottom: MaxGram,
    leaf: int,
    n_drafted: int,
    max_depth: int,
    width: int = 1,
    lenience: float = 1.0,
    probabilities: bool = False,
) -> tuple[int, Review]:
    """The bottom drafter's `n_drafted` tokens under `leaf`, reviewed by a plan, then the plan's own: the new leaf and the review.

    `leaf` lies above `max_depth`, the new one not below it.
    """
    first, room = len(tree), max_depth - tree.depths[leaf] - 1
    add_chain(tree, leaf, bottom.propose(tree.path_tokens(leaf)[1:], min(n_drafted, room)), bottom.name)
    (reviewed,) = review(sequence, tree, plan, [leaf], first, width, lenience, probabilities)
    return tree.add(reviewed.nodes[-1], reviewed.proposals[-1].tokens[0], plan.name), reviewed
