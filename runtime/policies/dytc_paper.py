"""DyTC as published (CAS-Spec, arXiv 2510.26843, section 4 and algorithm 1), the yardstick of our own `dytc`.

Candidates: two layer-sparse plans Md1 and Md2, prompt lookup, and either plan reviewing prompt lookup, VC(Md, PLD). A step expands
the most probable active leaf with the configuration and length that maximise eq. 5, until a token of the bottom drafter no longer
pays there. Acceptance is the paper's moving average over the first tokens of drafts; nothing is explored.

One defect is repaired, without which the algorithm would not end: an expanded leaf is retired, and each lane (the leaf, its
siblings) goes on under its own last node. What the paper leaves open is declared here: a tree of 64 nodes, 3 tokens a position
within probability .9, n-grams of 3 down to 1, 10 tokens reviewed at a time; a configuration that has nothing to say at a leaf makes
room for the next best; the cost a token of VC(Md, PLD) is that of a round over the tokens a round is expected to leave.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Self

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.drafters.review import Review, add_chain, nucleus, review
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import ForwardMs, Policy, PolicyContext, VerifyResult, evenly_sparse

LOOKUP_COST = 0.01
"""c of prompt lookup."""
SPARSITIES = (0.4, 0.6)
"""Of Md1 and Md2."""
PRIOR_ACCEPTANCE = 0.5
"""Where no profile says it; of prompt lookup always."""


class Acceptance:
    """a <- .7 a + .3 mean(last 20 outcomes of "was the first drafted token accepted")."""

    def __init__(self, prior: float) -> None:
        self._prior = prior
        self.reset()

    def reset(self) -> None:
        self.value = self._prior
        self._outcomes: deque[bool] = deque(maxlen=20)

    def observe(self, outcome: bool) -> None:
        self._outcomes.append(outcome)
        self.value = 0.7 * self.value + 0.3 * sum(self._outcomes) / len(self._outcomes)


@dataclass(frozen=True, slots=True)
class Configuration:
    """What may draft a block."""

    drafter: Plan | None
    """None is prompt lookup."""
    reviews: bool
    """Whether the plan reviews prompt lookup's tokens instead of drafting one by one."""
    acceptance: Acceptance
    """Shared by a plan alone and reviewing: both leave the plan's own tokens."""


@dataclass(slots=True)
class TreeGrowth:
    """The tree of one step while it grows. A node's probability is the product of the acceptances on its path."""

    sequence: Sequence
    tree: CandidateTree
    max_depth: int
    active: set[int] = field(default_factory=lambda: {0})
    """Nodes that may be expanded."""


def walltime_gain(acceptance: float, cost: float, n_tokens: int, bottom_acceptance: float, bottom_cost: float) -> float:
    """T_s of eq. 5: expected tokens of a block of `n_tokens` and one of the bottom drafter, over what they cost in target steps."""
    expected = sum(acceptance**i for i in range(1, n_tokens + 1))
    return (expected + acceptance**n_tokens * bottom_acceptance) / (cost * n_tokens + bottom_cost)


def sublayers(plan: Plan) -> int:
    return plan.n_attention + plan.n_mlp


class DyTCPaper(Policy):
    """The published policy.

    Args:
        target_plan: the target's own plan.
        plans: Md1 and Md2 with their offline acceptance.
        forward_ms: latency prediction.
        max_nodes: of a tree, the root not counted.
        width, top_p: tokens of a plan at a position, at most so many and until their probabilities sum to so much.
        max_ngram: longest match of prompt lookup.
        n_drafted: tokens of prompt lookup a plan reviews at a time.
        max_block: largest k.
        t_min: walltime gain of a token of prompt lookup at a leaf below which the tree is done.
    """

    summary = "the published dynamic tree cascade"

    def __init__(
        self,
        target_plan: Plan,
        plans: list[tuple[Plan, float]],
        forward_ms: ForwardMs,
        max_nodes: int = 64,
        width: int = 3,
        top_p: float = 0.9,
        max_ngram: int = 3,
        n_drafted: int = 10,
        max_block: int = 5,
        t_min: float = 1.1,
    ) -> None:
        self._target_plan = target_plan
        self._forward_ms = forward_ms
        self._lookup = PromptLookup(max_ngram)
        self._lookup_acceptance = Acceptance(PRIOR_ACCEPTANCE)
        self._configurations = [Configuration(None, False, self._lookup_acceptance)]
        for plan, prior in plans:
            drafter, acceptance = plan, Acceptance(prior)
            self._configurations += [Configuration(drafter, reviews, acceptance) for reviews in (False, True)]
        self._max_nodes = max_nodes
        self._width = width
        self._top_p = top_p
        self._n_drafted = n_drafted
        self._max_block = max_block
        self._t_min = t_min
        self._firsts: list[tuple[Acceptance, int, int]] = []

    @classmethod
    def build(cls, context: PolicyContext, drafter: str = "", second: str = "", **parameters: Any) -> Self:
        """`drafter` and `second` name Md1 and Md2 among the profile's plans; Md2 is its first that leaves out more than Md1."""
        target, first = context.target, context.plan(drafter, SPARSITIES[0])
        sparser = (plan for plan, _ in context.self_drafters() if sublayers(plan) < sublayers(first))
        even = evenly_sparse(target.n_layers, SPARSITIES[1])
        plans = [first, context.plan(second) if second else next(sparser, even)]
        known = {
            plan.name: float(spec.parameters.get("acceptance", PRIOR_ACCEPTANCE))
            for plan, spec in context.self_drafters()
        }
        priors = [(plan, known.get(plan.name, PRIOR_ACCEPTANCE)) for plan in plans]
        return cls(target.full_plan, priors, context.forward_ms(), **parameters)

    def begin(self, sequence: Sequence) -> None:
        self._lookup.begin(sequence.tokens)
        if not self.keeps_learned:
            for configuration in self._configurations:
                configuration.acceptance.reset()

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        self._firsts = []
        growth = TreeGrowth(sequence, CandidateTree(sequence.tokens[-1]), max_depth)
        tree, active = growth.tree, growth.active
        blocks = self._ranked_blocks(sequence.committed)
        bottom_gain = self._lookup_acceptance.value / LOOKUP_COST
        while active and self._room(tree) > 0:
            leaf = max(active, key=lambda node: (tree.probabilities[node], -node))
            if bottom_gain * tree.probabilities[leaf] < self._t_min:
                break
            if tree.depths[leaf] < max_depth:
                any(self._expand(growth, leaf, *block) for block in blocks)
            active.discard(leaf)
        return tree

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        targets = dict(zip(result.path, result.emitted, strict=True))
        for acceptance, leaf, token in self._firsts:
            if leaf in targets:
                acceptance.observe(targets[leaf] == token)
        self._lookup.extend(result.emitted)

    # ------------------------------------------------------------------------------------------- what to draft with

    def _ranked_blocks(self, context: int) -> list[tuple[Configuration, int]]:
        """Every configuration with its best length, best first; those of no gain left out. No leaf enters eq. 5, so once a step."""
        bottom, lengths = self._lookup_acceptance.value, range(1, self._max_block + 1)
        ranked = []
        for configuration in self._configurations:
            acceptance, cost = configuration.acceptance.value, self._cost(configuration, context)
            gains = [walltime_gain(acceptance, cost, k, bottom, LOOKUP_COST) for k in lengths]
            best = max(gains)
            if best > 0:
                ranked.append((best, configuration, 1 + gains.index(best)))
        ranked.sort(key=itemgetter(0), reverse=True)
        return [(configuration, n_tokens) for _, configuration, n_tokens in ranked]

    def _cost(self, configuration: Configuration, context: int) -> float:
        """c: milliseconds a drafted token over those of a target step, both predicted."""
        if configuration.drafter is None:
            return LOOKUP_COST
        plan, target_ms = configuration.drafter, self._forward_ms(self._target_plan, 1, context)
        if not configuration.reviews:
            return self._forward_ms(plan, 1, context) / target_ms
        n, bottom = self._n_drafted, self._lookup_acceptance.value
        round_cost = self._forward_ms(plan, 1 + n, context) / target_ms + n * LOOKUP_COST
        return round_cost / sum(bottom**i for i in range(n + 1))

    # ------------------------------------------------------------------------------------------------ growing the tree

    def _room(self, tree: CandidateTree) -> int:
        return self._max_nodes + 1 - len(tree)

    def _expand(self, growth: TreeGrowth, leaf: int, configuration: Configuration, n_tokens: int) -> bool:
        """Drafts a block of `n_tokens` under a leaf; False when the configuration has nothing to say there."""
        tree = growth.tree
        n_tokens = min(n_tokens, growth.max_depth - tree.depths[leaf])
        if configuration.drafter is None:
            first = self._copy(growth, leaf, n_tokens)
        else:
            first = self._self_draft(growth, leaf, n_tokens, configuration, configuration.drafter)
        if first is None:
            return False
        self._firsts.append((configuration.acceptance, leaf, first))
        return True

    def _copy(self, growth: TreeGrowth, leaf: int, n_tokens: int) -> int | None:
        """Prompt lookup's tokens under a leaf; the first of them."""
        tree, acceptance = growth.tree, self._lookup_acceptance.value
        tokens = self._continuation(growth, leaf, min(n_tokens, self._room(tree)))
        node = leaf
        for token in tokens:
            growth.active.discard(node)
            node = tree.add(node, token, PromptLookup.name, tree.probabilities[node] * acceptance)
            growth.active.add(node)
        return tokens[0] if tokens else None

    def _self_draft(
        self, growth: TreeGrowth, leaf: int, n_tokens: int, configuration: Configuration, drafter: Plan
    ) -> int:
        """A plan's tokens under a leaf and its active siblings, each a lane, one forward a round; the first under the leaf."""
        tree, goal = growth.tree, growth.tree.depths[leaf] + n_tokens
        siblings = tree.children(tree.parents[leaf]) if leaf else []
        lanes, first = [leaf, *(node for node in siblings if node in growth.active and node != leaf)], -1
        while lanes:
            start = len(tree)
            if configuration.reviews:
                share = min(self._n_drafted, self._room(tree) // len(lanes))
                for lane in lanes:
                    room = min(share, growth.max_depth - tree.depths[lane] - 1)
                    add_chain(tree, lane, self._continuation(growth, lane, room), PromptLookup.name)
            reviews = review(growth.sequence, tree, drafter, lanes, start, self._width, probabilities=True)
            if first < 0:
                first = reviews[0].proposals[0].tokens[0]
            ends = [self._offer(growth, reviewed, drafter.name, configuration.acceptance.value) for reviewed in reviews]
            lanes = [node for node in ends if node is not None and tree.depths[node] < goal]
        return first

    def _offer(self, growth: TreeGrowth, reviewed: Review, name: str, acceptance: float) -> int | None:
        """Adds what a plan says after every node of a lane; the lane's new end, None once the tree is full."""
        tree, end = growth.tree, None
        for node, proposal in zip(reviewed.nodes, reviewed.proposals, strict=True):
            growth.active.discard(node)
            for token, _ in nucleus(proposal, self._top_p):
                if self._room(tree) <= 0 and tree.child(node, token) is None:
                    return None
                growth.active.add(tree.add(node, token, name, tree.probabilities[node] * acceptance))
            end = tree.child(node, proposal.tokens[0])
        return end

    def _continuation(self, growth: TreeGrowth, node: int, n_tokens: int) -> list[int]:
        """What prompt lookup copies after the path to a node."""
        longest = self._lookup.max_ngram
        suffix = growth.sequence.tokens[-longest:] + growth.tree.path_tokens(node)[1:]
        return self._lookup.propose(suffix[-longest:], n_tokens)
