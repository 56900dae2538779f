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

from typing import Any, Self

from casspec.runtime.decoding.acceptance import AcceptanceTable
from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.mean_recycling import MeanRecycling
from casspec.runtime.drafters.retrieval import Retrieval
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.latency.correction import LatencyCorrection
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import CONTEXT_STEP, QUERY_BUCKETS
from casspec.runtime.policies.base import ForwardMs, Policy, PolicyContext, VerifyResult
from casspec.runtime.policies.dytc.ablation import Ablation
from casspec.runtime.policies.dytc.growth import CostCurve, TreeGrowth
from casspec.runtime.policies.dytc.reviewer import Reviewer
from casspec.storage.schema import AcceptancePrior

START_STEPS = 10.0
"""Autoregressive steps the belief in the start rate counts for."""

SAMPLED_ROUNDS, GREEDY_ROUNDS = (2.4, 2.1), (3.5, 3.0)
"""G of a step's first round and of later ones, before a text has shown its own: what rounds brought, where that many were expected, in
replays of the testbed's tuning half. Greedy text repeats itself more, so that more of what is retrieved behind a review is right."""

START_ROUNDS = 20.0
"""Expected tokens the belief in them counts for."""

MEMORY = 0.98
"""Weight that what rounds brought keeps when another step with reviews is verified."""


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
        self._counts_verification = ablation.cost
        self._target_plan = target_plan
        self._forward_ms = forward_ms
        self._reviewers = reviewers or []
        self._max_nodes = max_nodes
        self._max_review = max_review
        self._max_depth = max_depth
        self._max_rounds = max_rounds
        self._min_mass = min_mass
        self._optimism = optimism if ablation.exploration else 0.0
        self._review_overhead_ms = review_overhead_ms
        self._rate_decay = rate_decay
        self._start_speedup = start_speedup
        self._corrects = correct_latency
        self._latencies: dict[
            str, tuple[list[int], list[float]]
        ] = {}  # buckets and predictions by plan, at this context
        self._correction = LatencyCorrection(target_plan.name)  # of the machine, so it outlives a text
        self._verified: list[int] = []  # nodes of the grown tree that were verified, in their new order

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
        self._slowdown = 1.0  # of the target, over its prediction
        self._context_step = -1  # the last text looked costs up at another place in the step
        self._retrieval.begin(sequence.tokens, sequence.prompt_top)
        self._rate_tokens = START_STEPS * self._start_speedup
        self._rate_ms = START_STEPS * self._forward_ms(self._target_plan, 1, sequence.committed)
        self._usual_rows = 4.0  # of a review
        self._first_round, self._later_round = GREEDY_ROUNDS if sequence.sampling.greedy else SAMPLED_ROUNDS
        # Tokens that rounds were expected to bring in this text, and those they brought.
        self._expected, self._brought = START_ROUNDS, START_ROUNDS

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        self._draft_ms = self._expected_now = 0.0
        self._slowdown = self._correction.line(self._target_plan.name)[0]
        tokens, context = sequence.tokens, sequence.committed
        rate = self._rate(context)
        growth = TreeGrowth(
            tokens[-1],
            tuple(tokens[-self._retrieval.max_ngram :]),
            self._retrieval,
            min(max_depth, self._max_depth),
            self._min_mass,
            sequence.noise_rows,
            1.0 / (sequence.sampling.temperature or 1.0),
        )
        self._growth = growth
        verification = self._curve(
            self._target_plan, self._max_nodes, rate if self._counts_verification else 0.0, context
        )
        for reviewer in self._reviewers:
            reviewer.begin_step()
        if not self._reviewers or growth.max_depth == 0:
            growth.grow(verification, 1)
            self._verified = list(range(len(growth.tree)))
            return growth.tree
        self._rounds(growth, verification, sequence, rate)
        growth.grow(verification, growth.live())
        self._verified = growth.best(verification)
        return growth.tree.selected(self._verified)

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        path, emitted = result.path, result.emitted
        update, offered, verified = self._retrieval.table.update, self._growth.offered, self._verified
        for place, token in zip(path, emitted, strict=True):
            node = verified[place]
            for candidate, cell in offered.get(node, ()):
                update(cell, candidate == token)
            for reviewer in self._reviewers:
                reviewer.observe(node, token)
        if self._expected_now:
            self._expected = self._expected * MEMORY + self._expected_now
            self._brought = self._brought * MEMORY + sum([verified[place] >= self._unreviewed for place in path])
        tree = result.tree
        ids, logits = result.outputs.rows(path)
        self._retrieval.extend(emitted, [tree.tokens[node] for node in path], ids, logits)
        cost = self._draft_ms + self._ms(self._target_plan, len(tree), sequence.committed)
        self._rate_tokens = self._rate_tokens * self._rate_decay + len(emitted)
        self._rate_ms = self._rate_ms * self._rate_decay + cost
        if self._corrects:
            for ran in sequence.recent_forwards():
                predicted = self._forward_ms(ran.plan, ran.n_tokens, ran.context_tokens)
                self._correction.observe(ran.plan.name, predicted, ran.milliseconds)

    # ------------------------------------------------------------------------------------------------------- rounds

    def _rounds(self, growth: TreeGrowth, verification: CostCurve, sequence: Sequence, rate: float) -> None:
        """Retrieval and review in turn, for as long as another round pays."""
        first, tree = 0, growth.tree
        # Nothing is learned before the step is verified, so costs stay what they are.
        curves = {
            reviewer.name: self._curve(reviewer.plan, self._max_review, rate, sequence.committed)
            for reviewer in self._reviewers
        }
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
            depths, masses = tree.depths, growth.masses
            nodes = [
                node
                for node in range(first, len(tree))
                if depths[node] < growth.max_depth and masses[node] >= self._min_mass
            ]
            if not nodes:
                return
            if not done:
                self._unreviewed = len(tree)  # from here on nodes are there because of a review
            self._expected_now += expected
            self._draft_ms += curve.of(len(nodes)) / rate + self._review_overhead_ms
            growth.review(nodes, reviewer.review(sequence, tree, nodes), reviewer.name)
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
        rows, beside = round(self._usual_rows), growing + rate * self._review_overhead_ms
        best, best_value = None, 0.0
        for reviewer in self._reviewers:
            gain = growth.open_mass * reviewer.acceptance(self._optimism) * usual
            value = gain - curves[reviewer.name].of(rows) - beside
            if value > best_value:
                best, best_value = reviewer, value
        return best

    def _ms(self, plan: Plan, rows: int, context: int) -> float:
        """Predicted time of a forward, as it is now beside the target's: a slowdown of everything changes no decision."""
        return self._correction.corrected_ms(plan.name, self._forward_ms(plan, rows, context)) / self._slowdown

    def _rate(self, context: int) -> float:
        """R in tokens/ms."""
        if self._counts_verification:
            return self._rate_tokens / self._rate_ms
        return 1.0 / self._forward_ms(self._target_plan, 1, context)  # drafting compared with autoregressive steps

    def _curve(self, plan: Plan, most_rows: int, rate: float, context: int) -> CostCurve:
        """R times the cost of a forward of `plan` at each bucket up to `most_rows`; latencies are looked up anew when the context
        enters another step."""
        if context // CONTEXT_STEP != self._context_step:
            self._context_step = context // CONTEXT_STEP
            self._latencies.clear()
        known = self._latencies.get(plan.name)
        if known is None:
            sizes = [size for size in QUERY_BUCKETS if size <= most_rows]
            known = self._latencies[plan.name] = sizes, [self._forward_ms(plan, size, context) for size in sizes]
        buckets, predicted = known
        scale = rate / self._slowdown
        return CostCurve(buckets, [scale * cost for cost in self._correction.corrected_curve(plan.name, predicted)])
