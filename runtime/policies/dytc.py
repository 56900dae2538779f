"""DyTC: the dynamic tree cascade (CAS-Spec, arXiv 2510.26843, section 4), with its defects mended.

Each step grows one tree. Retrieval costs no forward, so its candidates are taken in order of the probability that the target will
emit them, for as long as that pays for the growth of the verification (renewal-rate rule): with R the long-run rate in tokens/ms,
a tree with n nodes is worth

    1 + sum of its nodes' probabilities - R * C_verify(bucket(n))

and the best n is verified. A self-drafter's block of k tokens competes by the same rule, its forwards charged: at a leaf where the
target's token is not among the retrieved candidates with probability u, k tokens of acceptance a add
u * (a + ... + a^k + a^k * G), G being what a tree usually gains, and cost R * (k * C_draft + growth of C_verify).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from casspec.runtime.acceptance import AcceptanceTable, confidence_bucket, retrieval_prior_means, self_prior_means
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.drafters.retrieval import Match, Retrieval
from casspec.runtime.drafters.token_recycling import RecyclingMatrix, TokenRecycling
from casspec.runtime.dsia import Plan
from casspec.runtime.policies.base import ForwardMs, Ingredients, Outcome, Policy
from casspec.runtime.sequence import Sequence
from casspec.runtime.target import CONTEXT_STEP, QUERY_BUCKETS
from casspec.runtime.tree import CandidateTree
from casspec.storage.schema import AcceptancePrior

RETRIEVAL_TABLE = "retrieval"

EXPAND_FACTOR = 3.0
"""A node is expanded when its probability is this many times the smallest worth handling: few of its children could reach that."""


@dataclass(slots=True)
class SelfDrafter:
    """A plan the cascade may draft with, and what is known of its acceptance."""

    plan: Plan
    table: AcceptanceTable
    """Cells by confidence of the drafted token."""
    prior_acceptance: float
    accepted: float = field(init=False)
    trials: float = field(init=False)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Back to the offline acceptance, held as ten trials."""
        self.table.reset()
        self.accepted, self.trials = 10 * self.prior_acceptance, 10.0

    def observe(self, cell: int, accepted: bool) -> None:
        self.table.update(cell, accepted)
        self.accepted = self.accepted * 0.98 + accepted
        self.trials = self.trials * 0.98 + 1

    def acceptance(self, optimism: float) -> float:
        """Mean acceptance of a drafted token, raised by `optimism` standard errors."""
        mean = self.accepted / self.trials
        return min(mean + optimism * (mean * (1 - mean) / self.trials) ** 0.5, 0.99)


@dataclass(slots=True)
class Growth:
    """State of the tree being grown in one step."""

    tree: CandidateTree
    max_depth: int
    costs: list[float]
    """R * C_verify of each bucket."""
    noise: np.ndarray | None
    inverse_temperature: float
    suffixes: list[tuple[int, ...]]
    """Per node, the last tokens of its path; () until it is expanded."""
    matches: list[Match]
    """Per node, where its suffix occurred before; unknown until it is expanded."""
    masses: list[float] = field(default_factory=lambda: [1.0])
    heap: list[tuple[float, int, int]] = field(default_factory=list)
    """(-probability, parent, token): candidates offered and not yet taken."""
    gain: float = 0.0
    """Sum of the probabilities of all nodes but the root."""


class DyTC(Policy):
    """Policy of the cascade.

    Args:
        target_plan: the target's own plan.
        forward_ms: latency prediction.
        drafters: self-drafters of the cascade; [] is retrieval only.
        matrix, prior: the profile's recycling matrix and acceptance cells.
        max_nodes, max_depth: bounds of a tree, root included in the nodes.
        max_ngram, branch: of the retrieval.
        max_block: longest block of a self-drafter.
        min_mass: probability below which a candidate is not worth handling.
        optimism: standard errors added to a self-drafter's acceptance before it is compared; 0 turns exploration off.
        rate_decay: weight of the past in R. start_speedup: R starts at this many times the autoregressive rate.
    """

    summary = "a dynamic tree cascade over all of them"
    needs_top = True

    def __init__(
        self,
        target_plan: Plan,
        forward_ms: ForwardMs,
        drafters: list[SelfDrafter] | None = None,
        matrix: RecyclingMatrix | None = None,
        prior: AcceptancePrior | None = None,
        table: AcceptanceTable | None = None,
        max_nodes: int = 16,
        max_depth: int = 12,
        max_ngram: int = 4,
        branch: int = 4,
        max_block: int = 6,
        min_mass: float = 0.04,
        optimism: float = 1.0,
        rate_decay: float = 0.98,
        start_speedup: float = 1.8,
    ) -> None:
        table = table or AcceptanceTable(RETRIEVAL_TABLE, retrieval_prior_means(), prior)
        self._retrieval = Retrieval(table, TokenRecycling(matrix), max_ngram, branch)
        self._target_plan = target_plan
        self._forward_ms = forward_ms
        self._drafters = drafters or []
        self._buckets = [size for size in QUERY_BUCKETS if size <= max_nodes]
        self._max_depth = max_depth
        self._max_block = max_block
        self._min_mass = min_mass
        self._optimism = optimism
        self._rate_decay = rate_decay
        self._start_speedup = start_speedup
        self._verify_ms_at: tuple[int, list[float]] = (-1, [])
        self._offered: dict[int, list[tuple[int, int]]] = {}
        self._drafted: list[tuple[SelfDrafter, int, int, int]] = []

    @classmethod
    def build(cls, ingredients: Ingredients, **parameters: Any) -> Self:
        """From a profile, or on built-in priors without one."""
        profile, target = ingredients.profile, ingredients.target
        prior = (
            next((entry for entry in profile.acceptance if entry.mode == ingredients.mode), None) if profile else None
        )
        drafters = []
        # A profile may keep a plan for the method `layer-sparse` although no cascade with it pays.
        plans = ingredients.self_drafters() if profile and profile.decision == "cascade" else []
        for plan, spec in plans:
            acceptance = float(spec.parameters.get("acceptance", 0.5))
            table = AcceptanceTable(spec.name, self_prior_means(acceptance), prior)
            drafters.append(SelfDrafter(plan, table, acceptance))
        if profile and ingredients.mode in profile.predicted_speedup:
            parameters = {"start_speedup": profile.predicted_speedup[ingredients.mode], **parameters}
        return cls(target.full_plan, ingredients.forward_ms(), drafters, ingredients.matrix, prior, **parameters)

    def begin(self, sequence: Sequence) -> None:
        if not self.keeps_learned:
            self._retrieval.reset()
            for drafter in self._drafters:
                drafter.reset()
        self._retrieval.begin(sequence.tokens, sequence.prompt_top)
        # Ten autoregressive steps' worth of belief in the start rate.
        self._rate_tokens = 10.0 * self._start_speedup
        self._rate_ms = 10.0 * self._forward_ms(self._target_plan, 1, sequence.committed)
        self._usual_gain = self._start_speedup - 1.0

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        self._offered = {}
        self._drafted = []
        self._draft_ms = 0.0
        tokens, context = sequence.tokens, sequence.committed
        rate = self._rate_tokens / self._rate_ms
        tree = CandidateTree(tokens[-1])
        growth = Growth(
            tree=tree,
            max_depth=min(max_depth, self._max_depth),
            costs=[rate * cost for cost in self._verify_ms(context)],
            noise=sequence.noise_rows(self._max_depth),
            inverse_temperature=1.0 / (sequence.sampling.temperature or 1.0),
            suffixes=[tuple(tokens[-self._retrieval.max_ngram :])],
            matches=[self._retrieval.root_match()],
        )
        # 1. Retrieval: free candidates in order of probability while the growth of the verification pays.
        self._expand(growth, 0)
        self._grow(growth)
        # 2. A self-drafter's block where retrieval leaves most uncovered, if its forwards pay; then retrieval again from there.
        if self._drafters and growth.max_depth > 0:
            block = self._best_block(growth, rate, context)
            if block is not None:
                self._draft_block(growth, sequence, *block)
                self._grow(growth)
        return tree

    def observe(self, sequence: Sequence, outcome: Outcome) -> None:
        path, emitted, tree = outcome.path, outcome.emitted, outcome.tree
        update = self._retrieval.table.update
        for node, token in zip(path, emitted, strict=True):
            for candidate, cell in self._offered.get(node, ()):
                update(cell, candidate == token)
        targets = dict(zip(path, emitted, strict=True))
        for drafter, parent, candidate, cell in self._drafted:
            if parent in targets:
                drafter.observe(cell, targets[parent] == candidate)
        ids, logits = outcome.verified.rows(path)
        self._retrieval.extend(emitted, [tree.tokens[node] for node in path], ids, logits)
        decay = self._rate_decay
        cost = self._draft_ms + self._forward_ms(self._target_plan, len(tree), sequence.committed)
        self._rate_tokens = self._rate_tokens * decay + len(emitted)
        self._rate_ms = self._rate_ms * decay + cost
        self._usual_gain = self._usual_gain * decay + (len(emitted) - 1) * (1 - decay)

    def _verify_ms(self, context: int) -> list[float]:
        """C_verify of each bucket; looked up anew when the context enters another step."""
        step = context // CONTEXT_STEP
        if step != self._verify_ms_at[0]:
            costs = [self._forward_ms(self._target_plan, size, context) for size in self._buckets]
            self._verify_ms_at = step, costs
        return self._verify_ms_at[1]

    # ---------------------------------------------------------------------------------------------------- retrieval

    def _grow(self, growth: Growth) -> None:
        """Takes candidates while a larger verification can pay, then cuts the tree back to its best size."""
        tree, heap, costs, buckets = growth.tree, growth.heap, growth.costs, self._buckets
        place = next((i for i, size in enumerate(buckets) if len(tree) <= size), len(buckets) - 1)
        best_value, best_nodes = growth.gain - costs[place], len(tree)
        while heap:
            if len(tree) >= buckets[place]:
                best_value, best_nodes = max((growth.gain - costs[place], len(tree)), (best_value, best_nodes))
                if not self._can_pay(growth, place, best_value):
                    break
                place += 1
            negative, parent, token = heapq.heappop(heap)
            literal = self._retrieval.continues(growth.matches[parent], token)
            node = tree.add(parent, token, PromptLookup.name if literal else TokenRecycling.name, -negative)
            if node < len(growth.suffixes):
                continue  # a self-drafter proposed it first
            growth.suffixes.append(())
            growth.matches.append((0, 0))
            growth.masses.append(-negative)
            growth.gain -= negative
            self._expand(growth, node)
        if growth.gain - costs[place] < best_value:
            tree.truncate(best_nodes)
            growth.gain = sum(growth.masses[1:best_nodes])
            for column in (growth.suffixes, growth.matches, growth.masses):
                del column[best_nodes:]
            growth.heap = [entry for entry in heap if entry[1] < best_nodes]
            heapq.heapify(growth.heap)

    def _can_pay(self, growth: Growth, place: int, best_value: float) -> bool:
        """Whether some larger bucket, filled with candidates as good as the best one left, would beat the best size so far."""
        size, top = self._buckets[place], -growth.heap[0][0]
        return any(
            growth.gain + top * (self._buckets[larger] - size) - growth.costs[larger] > best_value
            for larger in range(place + 1, len(self._buckets))
        )

    def _expand(self, growth: Growth, node: int) -> None:
        """Offers the retrieved continuations of a node."""
        depth = growth.tree.depths[node]
        if depth >= growth.max_depth or growth.masses[node] < EXPAND_FACTOR * self._min_mass:
            return
        self._locate(growth, node)
        noise = None if growth.noise is None else growth.noise[depth]
        offered = self._retrieval.offer(
            growth.suffixes[node][-1], growth.matches[node], noise, growth.inverse_temperature
        )
        self._offered[node] = offered
        mass, floor, heap, estimate = growth.masses[node], self._min_mass, growth.heap, self._retrieval.table.estimate
        for token, cell in offered:
            probability = mass * estimate[cell]
            if probability > floor:
                heapq.heappush(heap, (-probability, node, token))

    def _locate(self, growth: Growth, node: int) -> None:
        """Finds out what a node's path ends with and where that occurred before."""
        if growth.suffixes[node]:
            return
        parent, token = growth.tree.parents[node], growth.tree.tokens[node]
        self._locate(growth, parent)
        suffix = (*growth.suffixes[parent], token)[-self._retrieval.max_ngram :]
        growth.suffixes[node] = suffix
        growth.matches[node] = self._retrieval.child_match(growth.matches[parent], token, suffix)

    # ------------------------------------------------------------------------------------------------- self-drafting

    def _best_block(self, growth: Growth, rate: float, context: int) -> tuple[SelfDrafter, int, int] | None:
        """(drafter, leaf, tokens) of the block with the best gain minus R times cost, None when none is positive."""
        tree = growth.tree
        uncovered = list(growth.masses)
        for node in range(1, len(tree)):
            uncovered[tree.parents[node]] -= growth.masses[node]
        leaf = max(
            (node for node in range(len(tree)) if tree.depths[node] < growth.max_depth),
            key=uncovered.__getitem__,
        )
        room = min(self._max_block, growth.max_depth - tree.depths[leaf], self._buckets[-1] - len(tree))
        verify_ms = self._forward_ms(self._target_plan, len(tree), context)
        best, best_value = None, 0.0
        for drafter in self._drafters:
            acceptance = drafter.acceptance(self._optimism)
            first_ms = self._forward_ms(drafter.plan, tree.depths[leaf] + 1, context)
            step_ms = self._forward_ms(drafter.plan, 1, context)
            chain, power = 0.0, 1.0
            for k in range(1, room + 1):
                power *= acceptance
                chain += power
                cost = first_ms + (k - 1) * step_ms
                cost += self._forward_ms(self._target_plan, len(tree) + k, context) - verify_ms
                value = uncovered[leaf] * (chain + power * self._usual_gain) - rate * cost
                if value > best_value:
                    best, best_value = (drafter, leaf, k), value
        return best

    def _draft_block(self, growth: Growth, sequence: Sequence, drafter: SelfDrafter, leaf: int, n_tokens: int) -> None:
        """Drafts a chain under `leaf`; it ends early where the drafter's own confidence falls too low to go on."""
        tree, node = growth.tree, leaf
        for _ in range(n_tokens):
            depth = tree.depths[node]
            self._draft_ms += self._forward_ms(drafter.plan, depth + 1 if node == leaf else 1, sequence.committed)
            values, tokens = sequence.perturbed(sequence.draft(drafter.plan, tree, [node]), [depth])[0].topk(2)
            (best, second), token = values.tolist(), int(tokens[0])
            cell = confidence_bucket(best - second)
            self._drafted.append((drafter, node, token, cell))
            mass = growth.masses[node] * drafter.table.estimate[cell]
            node = tree.add(node, token, drafter.plan.name, mass)
            if node == len(growth.masses):
                growth.suffixes.append(())
                growth.matches.append((0, 0))
                growth.masses.append(mass)
                growth.gain += mass
                self._expand(growth, node)
            else:
                growth.gain += max(mass - growth.masses[node], 0.0)
                growth.masses[node] = max(mass, growth.masses[node])
            if growth.masses[node] < self._min_mass:
                break
