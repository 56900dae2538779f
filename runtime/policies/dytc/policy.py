"""DyTC: the dynamic tree cascade (CAS-Spec, arXiv 2510.26843, section 4), with its defects mended.

Each step grows one tree. Retrieval costs no forward, so its candidates are taken in order of the probability that the target will
emit them, for as long as that pays for the growth of the next forward (renewal-rate rule): with R the long-run rate in tokens/ms, a
tree of n nodes is worth

    1 + sum of its nodes' probabilities - R * C_verify(bucket(n))

and the best n is verified. A self-drafter competes by the same rule, its forward charged. In one round it reviews all that was grown
since the last: its own tokens, right with probability a, confirm or replace the retrieved ones and are new ground for retrieval.
With m the probability that the target gets that far and G the tokens such a round usually brings, its own and retrieved, a round adds
m * a * G tokens and costs R * (C_draft(rows) + growth of C_verify). Rounds go on while one pays: several cheap ones for each
verification. What rounds bring is seen once their step is verified, and G follows it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

from casspec.runtime.decoding.acceptance import AcceptanceTable
from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.mean_recycling import MeanRecycling
from casspec.runtime.drafters.retrieval import Retrieval
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import ForwardMs, Policy, PolicyContext, VerifyResult
from casspec.runtime.policies.dytc.ablation import Ablation
from casspec.runtime.policies.dytc.costs import CostCurve, Costs
from casspec.runtime.policies.dytc.reviewer import Reviewer
from casspec.runtime.policies.dytc.tally import Tally
from casspec.runtime.policies.dytc.tree_growth import GrowthArrays, TreeGrowth
from casspec.storage.schema import AcceptancePrior

SAMPLED_ROUNDS, GREEDY_ROUNDS = (2.4, 2.1), (3.5, 3.0)
"""G of a step's first round and of later ones, before a text has shown its own: what rounds brought, where that many were expected, in
replays of the testbed's tuning half. Greedy text repeats itself more, so that more of what is retrieved behind a review is right."""

START_ROUNDS = 20.0
"""Expected tokens the belief in them counts for."""

ROUNDS_MEMORY = 0.98
"""Weight that what rounds brought keeps when another step with reviews is verified."""


@dataclass(slots=True)
class _Step:
    """What was drafted, until it is verified."""

    growth: TreeGrowth
    verified: list[int] = field(default_factory=list)
    """Nodes of the grown tree that are verified, in their new order."""
    draft_ms: float = 0.0
    """Predicted time of its reviews."""
    expected: float = 0.0
    """Tokens its rounds were expected to bring."""
    unreviewed: int = 0
    """From here on nodes are there because of a review."""


class DyTC(Policy):
    """Policy of the cascade.

    Args:
        target_plan: the target's own plan.
        forward_ms: latency prediction.
        reviewers: self-drafters of the cascade; [] is retrieval only.
        matrix, prior: the profile's recycling matrix and acceptance cells.
        max_nodes: most nodes verified, root included. max_review: most nodes a self-drafter reviews in one round.
        max_depth: of a tree. max_rounds: reviews a verification.
        max_ngram, branch: of the retrieval.
        min_mass: probability below which a candidate is not worth handling.
        optimism: standard errors added to a self-drafter's acceptance before it is compared; 0 turns exploration off.
        review_overhead_ms: what a review costs beside its forward (masks, noise, candidates); calibration measures it.
        rate_decay: weight of the past in R. start_speedup: R starts at this many times the autoregressive rate.
        correct_latency: follow what forwards really take while decoding, see `runtime/latency/correction.py`.
        without: answers switched off, see `runtime/policies/dytc/ablation.py`.
    """

    summary = "a dynamic tree cascade over all of them"
    needs_top = True

    def __init__(
        self,
        target_plan: Plan,
        forward_ms: ForwardMs,
        reviewers: list[Reviewer] | None = None,
        matrix: RecyclingMatrix | None = None,
        prior: AcceptancePrior | None = None,
        table: AcceptanceTable | None = None,
        max_nodes: int = 16,
        max_review: int = 16,
        max_depth: int = 48,
        max_rounds: int = 24,
        max_ngram: int = 4,
        branch: int = 4,
        min_mass: float = 0.04,
        optimism: float = 1.0,
        review_overhead_ms: float = 0.25,
        rate_decay: float = 0.98,
        start_speedup: float = 1.8,
        correct_latency: bool = True,
        without: str = "",
    ) -> None:
        ablation = Ablation.of(without)
        table = table or ablation.retrieval_table(prior)
        self._retrieval = Retrieval(table, MeanRecycling(matrix), max_ngram, branch, ablation.leaf)
        self._arrays = GrowthArrays(branch)
        self._costs = Costs(target_plan, forward_ms, rate_decay, start_speedup, correct_latency, ablation.cost)
        self._reviewers = reviewers or []
        self._max_nodes = max_nodes
        self._max_review = max_review
        self._max_depth = max_depth
        self._max_rounds = max_rounds
        self._min_mass = min_mass
        self._optimism = optimism if ablation.exploration else 0.0
        self._review_overhead_ms = review_overhead_ms
        self._step: _Step | None = None
        self._tally = Tally()

    @classmethod
    def build(cls, context: PolicyContext, **parameters: Any) -> Self:
        profile, target = context.profile, context.target
        prior = next((entry for entry in profile.acceptance if entry.mode == context.mode), None) if profile else None
        reviewers = []
        # A profile may keep plans for other methods although no cascade with them pays.
        for plan, spec in context.self_drafters() if profile and profile.decision == "cascade" else []:
            if spec.parameters.get("cascade", True):
                acceptance = float(spec.parameters.get("acceptance", 0.5))
                table = Ablation.of(parameters.get("without", "")).reviewer_table(spec.name, acceptance, prior)
                target.prepare(plan.precision)  # now, so that no request waits for its weights
                reviewers.append(Reviewer(plan, table, acceptance))
        if profile and context.mode in profile.predicted_speedup:
            parameters = {"start_speedup": profile.predicted_speedup[context.mode], **parameters}
        return cls(target.full_plan, context.forward_ms(), reviewers, context.matrix, prior, **parameters)

    def begin(self, sequence: Sequence) -> None:
        if not self.keeps_learned:
            self._retrieval.reset()
            for reviewer in self._reviewers:
                reviewer.reset()
        self._costs.begin(sequence.committed)
        self._retrieval.begin(sequence.tokens, sequence.prompt_top)
        self._usual_rows = 4.0  # of a review
        self._first_round, self._later_round = GREEDY_ROUNDS if sequence.sampling.greedy else SAMPLED_ROUNDS
        # Tokens that rounds were expected to bring in this text, and those they brought.
        self._expected, self._brought = START_ROUNDS, START_ROUNDS

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        context = sequence.committed
        self._costs.begin_step(context)
        noise = sequence.noise_rows(1)
        growth = TreeGrowth(
            sequence.tokens[-1],
            self._retrieval,
            min(max_depth, self._max_depth),
            self._min_mass,
            None if noise is None else noise[0],
            1.0 / (sequence.sampling.temperature or 1.0),
            self._arrays,
        )
        step = self._step = _Step(growth)
        verification = self._costs.verification(self._max_nodes, context)
        for reviewer in self._reviewers:
            reviewer.begin_step()
        # 1. Without self-drafters, or room for what they would add, retrieval is the whole draft.
        if not self._reviewers or growth.max_depth == 0:
            growth.grow(verification, 1)
            step.verified = list(range(len(growth.tree)))
            return growth.tree
        # 2. Else retrieval and review take turns, and retrieval fills up once more.
        self._rounds(step, verification, sequence)
        growth.grow(verification, growth.live())
        # 3. The most probable nodes are verified, as many as pay.
        step.verified = growth.best(verification)
        return growth.tree.selected(step.verified)

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        step, path, emitted = self._step, result.path, result.emitted
        assert step is not None
        update, offered, verified = self._retrieval.table.update, step.growth.offered, step.verified
        trials, right = self._tally.trials, self._tally.right
        own = [place for place in path if place < len(verified)]
        for place, token in zip(own, emitted, strict=False):
            node = verified[place]
            for candidate, cell in offered(node):
                update(cell, candidate == token)
                trials[cell] += 1
                right[cell] += candidate == token
            for reviewer in self._reviewers:
                reviewer.observe(node, token)
        if step.expected:
            self._expected = self._expected * ROUNDS_MEMORY + step.expected
            self._brought = self._brought * ROUNDS_MEMORY + sum([verified[place] >= step.unreviewed for place in own])
        tree = result.tree
        self._retrieval.extend(emitted, *result.outputs.row_arrays(path))
        self._costs.observe(sequence, len(tree) - len(result.ruled_out), len(emitted), step.draft_ms)

    def take_trials(self) -> dict[str, tuple[int, int]]:
        return self._tally.taken(self._reviewers)

    # ------------------------------------------------------------------------------------------------------- rounds

    def _rounds(self, step: _Step, verification: CostCurve, sequence: Sequence) -> None:
        """Retrieval and review in turn, for as long as another round pays."""
        growth, tree, first = step.growth, step.growth.tree, 0
        rate, context = self._costs.rate, sequence.committed
        curves = {one.name: self._costs.curve(one.plan, self._max_review, context) for one in self._reviewers}
        for done in range(self._max_rounds):
            if len(tree) + self._max_review > MAX_TREE_NODES:
                return
            brings = self._later_round if done else self._first_round
            reviewer = self._best_reviewer(growth, verification, curves, rate, brings)
            if reviewer is None:
                return
            expected = growth.open_mass * reviewer.acceptance(self._optimism) * brings
            curve = curves[reviewer.name]
            growth.grow(curve, len(tree) - first)
            nodes = growth.unreviewed()
            if not len(nodes):
                return
            if not done:
                step.unreviewed = len(tree)
            step.expected += expected
            step.draft_ms += curve.of(len(nodes)) / rate + self._review_overhead_ms
            reviewer.review(sequence, tree, nodes)
            growth.review(nodes, reviewer.said, reviewer.table.estimates, reviewer.name)
            self._usual_rows += 0.05 * (len(nodes) - self._usual_rows)
            first = len(tree)

    def _best_reviewer(
        self, growth: TreeGrowth, verification: CostCurve, curves: dict[str, CostCurve], rate: float, brings: float
    ) -> Reviewer | None:
        """The self-drafter whose next round gains most over its cost; None when none pays.

        Args:
            curves: of its forwards, by name.
            brings: tokens such a round usually brings, on texts like those it was measured on.
        """
        usual = brings * self._brought / self._expected
        live = growth.live()
        growing = verification.of(live + round(usual)) - verification.of(live)
        rows, beside = round(self._usual_rows), growing + rate * self._review_overhead_ms * self._costs.waiting
        best, best_value = None, 0.0
        for reviewer in self._reviewers:
            gain = growth.open_mass * reviewer.acceptance(self._optimism) * usual
            value = gain - curves[reviewer.name].of(rows) - beside
            if value > best_value:
                best, best_value = reviewer, value
        return best
