"""From the Pareto front to the cascade: which self-drafters are worth keeping over retrieval alone.

A self-drafter pays only when some way of using it (alone, reviewing retrieved tokens, or before them) is predicted to
beat prompt lookup on its own: with the acceptance and cost that layer skipping has on many models it does not, and then
the honest answer is "retrieval-only".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from casspec.runtime.acceptance import CellCounter
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.latency import LatencyPredictor
from casspec.runtime.target import TargetModel
from casspec.storage.schema import (
    AcceptanceCell,
    Document,
    DrafterCandidate,
    DrafterSpec,
    MethodSettings,
    Mode,
)
from casspec.tuner import walltime
from casspec.tuner.acceptance import AcceptanceMeter, count_confidence, survival_by_depth
from casspec.tuner.pareto import pareto_front
from casspec.tuner.plans import PlanSpec
from casspec.tuner.recordings import Recording

LOOKUP_COST = 0.01
"""Cost coefficient of prompt lookup, as the literature puts it."""

LOOKUP_TOKENS = 10
MOST_ROUNDS = 4
LARGEST_ALPHA = 0.999
"""Keeps closed forms away from their pole at 1."""

MOST_CONTENDERS = 4
MOST_SELF_DRAFTERS = 2

RETRIEVAL = (
    DrafterSpec(name="token-recycling", kind="token-recycling"),
    DrafterSpec(name="prompt-lookup", kind="prompt-lookup"),
)

Survival = Mapping[Mode, Sequence[float]]
"""By decoding mode, the probability that the first 1..k tokens of a draft are all accepted."""


class Contender(Document):
    """A drafter of the front with what was measured of it beyond its first token."""

    candidate: DrafterCandidate
    survival: dict[Mode, tuple[float, ...]]
    cells: dict[Mode, tuple[AcceptanceCell, ...]]
    """Trials by confidence of the drafter, in the table of its name."""

    @property
    def name(self) -> str:
        return PlanSpec.of(self.candidate).name


@dataclass(frozen=True)
class Cascade:
    """What the runtime is to run. The first self-drafter of `drafters` is the one of the method `layer-sparse`."""

    drafters: tuple[DrafterSpec, ...]
    decision: Literal["cascade", "retrieval-only", "off"]
    methods: tuple[MethodSettings, ...]
    cells: dict[Mode, tuple[AcceptanceCell, ...]]
    predicted: dict[str, dict[Mode, float]]
    """Walltime improvement by drafter: the best use of a self-drafter, and prompt lookup alone."""


class Costs:
    """Costs over one target step at the context of the recordings."""

    def __init__(self, target: TargetModel, latency: LatencyPredictor, context_tokens: int) -> None:
        self._target = target
        self._latency = latency
        self._context_tokens = context_tokens
        self._step_ms = latency.forward_ms(target.full_plan, 1, context_tokens)

    def verify(self, n_tokens: int) -> float:
        return self._latency.forward_ms(self._target.full_plan, n_tokens, self._context_tokens) / self._step_ms

    def draft(self, spec: PlanSpec, n_tokens: int = 1) -> float:
        plan = spec.plan(self._target.n_layers)
        return self._latency.forward_ms(plan, n_tokens, self._context_tokens) / self._step_ms


def contenders(candidates: Sequence[DrafterCandidate], costs: Costs, depth: int) -> list[DrafterCandidate]:
    """The few candidates of the front whose best chain is predicted fastest, were acceptances independent."""

    def predicted(candidate: DrafterCandidate) -> float:
        alive = [candidate.acceptance**i for i in range(1, depth + 1)]
        return walltime.best_chain(alive, candidate.cost, costs.verify)[1]

    front = [candidate for candidate in pareto_front(candidates) if not PlanSpec.of(candidate).is_target]
    return sorted(front, key=predicted, reverse=True)[:MOST_CONTENDERS]


def measure_contender(meter: AcceptanceMeter, candidate: DrafterCandidate, n_layers: int) -> Contender:
    """Depth profiles of a candidate on every recording of `meter`, by decoding mode."""
    plan = PlanSpec.of(candidate).plan(n_layers)
    survival, cells = {}, {}
    for mode in dict.fromkeys(recording.mode for recording in meter.recordings):
        indices = [i for i, recording in enumerate(meter.recordings) if recording.mode == mode]
        traces = [meter.depth_profile(plan, index) for index in indices]
        counter = CellCounter()
        count_confidence(traces, plan.name, counter)
        survival[mode] = survival_by_depth(traces, meter.block)
        cells[mode] = tuple(counter.cells())
    return Contender(candidate=candidate, survival=survival, cells=cells)


def lookup_survival(recordings: Sequence[Recording]) -> dict[Mode, tuple[float, ...]]:
    """Survival of prompt lookup started anew at every position of every continuation; no match survives nothing.

    Of first and most recent occurrence the one whose drafts survive longer.
    """
    survival: dict[Mode, tuple[float, ...]] = {}
    for mode in dict.fromkeys(recording.mode for recording in recordings):
        chosen = [recording for recording in recordings if recording.mode == mode]
        survival[mode] = max((_survival(chosen, most_recent) for most_recent in (False, True)), key=sum)
    return survival


def _survival(recordings: Sequence[Recording], most_recent: bool) -> tuple[float, ...]:
    survived, positions = [0] * LOOKUP_TOKENS, 0
    for recording in recordings:
        lookup = PromptLookup(most_recent=most_recent)
        lookup.begin(recording.prompt_tokens.tolist())
        truth = recording.continuation_tokens.tolist()
        for place, token in enumerate(truth):
            positions += 1
            proposed = lookup.propose(lookup.text[-lookup.max_ngram :], LOOKUP_TOKENS)
            for depth, (draft, true) in enumerate(zip(proposed, truth[place:], strict=False)):
                if draft != true:
                    break
                survived[depth] += 1
            lookup.extend([token])
    return tuple(count / max(positions, 1) for count in survived)


def choose_cascade(
    measured: Sequence[Contender], lookup: Survival, costs: Costs, replayed: Mapping[str, float] | None = None
) -> Cascade:
    """Self-drafters that pay in some mode, two at most; else the best one, for the method `layer-sparse` alone.

    Args:
        lookup: survival of prompt lookup's drafts.
        replayed: improvement by mode that replaying retrieval methods predicts; with it "off" means that neither prompt
            lookup nor any of them pays.
    """
    baseline = {mode: walltime.best_chain(alive, LOOKUP_COST, costs.verify)[1] for mode, alive in lookup.items()}
    predicted: dict[str, dict[Mode, float]] = {"prompt-lookup": baseline}
    for one in measured:
        predicted[one.name] = {mode: _best_use(one, mode, lookup[mode], costs) for mode in lookup}
    by_chain = sorted(measured, key=lambda one: max(_chain(one, mode, costs)[1] for mode in lookup), reverse=True)
    paying = [one for one in by_chain if any(predicted[one.name][mode] > max(baseline[mode], 1.0) for mode in lookup)]
    kept = paying[:MOST_SELF_DRAFTERS] or by_chain[:1]

    if paying:
        decision: Literal["cascade", "retrieval-only", "off"] = "cascade"
    else:
        retrieval_pays = max(*baseline.values(), *(replayed or {}).values(), 0.0) > 1.0
        decision = "retrieval-only" if retrieval_pays else "off"
    main: Mode = "sample" if "sample" in lookup else "greedy"
    methods = [
        MethodSettings(method="layer-sparse", variant="tuned", parameters={"n_tokens": _chain(one, main, costs)[0]})
        for one in kept[:1]
    ]
    return Cascade(
        drafters=tuple(_drafter(one) for one in kept) + (RETRIEVAL if decision != "off" else ()),
        decision=decision,
        methods=tuple(methods),
        cells={mode: tuple(cell for one in kept for cell in one.cells[mode]) for mode in lookup},
        predicted=predicted,
    )


def _drafter(contender: Contender) -> DrafterSpec:
    """`acceptance` is where the runtime's estimate of the drafter starts."""
    candidate = contender.candidate
    return DrafterSpec(
        name=contender.name,
        kind="self",
        skip=candidate.skip,
        quantization=candidate.quantization,
        parameters={"acceptance": round(candidate.acceptance, 4)},
    )


def _chain(contender: Contender, mode: Mode, costs: Costs) -> tuple[int, float]:
    return walltime.best_chain(contender.survival[mode], costs.draft(PlanSpec.of(contender.candidate)), costs.verify)


def _best_use(contender: Contender, mode: Mode, lookup: Sequence[float], costs: Costs) -> float:
    """The effective-cascade gate: the best of a chain, a vertical and a horizontal cascade over prompt lookup."""
    spec, survival = PlanSpec.of(contender.candidate), contender.survival[mode]
    a, a_lookup = min(survival[0], LARGEST_ALPHA), min(lookup[0], LARGEST_ALPHA)
    uses = [_chain(contender, mode, costs)[1]]
    for k in range(1, LOOKUP_TOKENS + 1):
        a_round = 1 + walltime.expected_accepted(a_lookup, k)  # tokens a reviewed round adds
        review = costs.draft(spec, k + 1)
        for n in range(1, MOST_ROUNDS + 1):
            verify = costs.verify(1 + ceil(n * a_round))
            uses.append(walltime.vertical(a, review, n, a_lookup, LOOKUP_COST, k, verify))
    for k1 in range(1, len(survival) + 1):
        for k2 in range(1, LOOKUP_TOKENS + 1):
            tail = survival[k1 - 1] * walltime.expected_accepted(a_lookup, k2)
            time = costs.verify(1 + k1 + k2) + k1 * costs.draft(spec) + k2 * LOOKUP_COST
            uses.append((1 + sum(survival[:k1]) + tail) / time)
    return max(uses)
