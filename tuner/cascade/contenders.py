"""From the Pareto front to the drafters of a profile.

The closed forms of the literature say which few candidates of the front could be worth most (alone, reviewing retrieved tokens, or
before them); those are measured in depth, and replay decides which join the cascade (`tuner/cascade/selection.py`). With the acceptance and
cost that layer skipping has on many models none does, and then the honest answer is "retrieval-only" or "off".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from casspec.runtime.decoding.acceptance import CellCounter
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies.dytc_paper import LOOKUP_COST
from casspec.storage.schema import (
    AcceptanceCell,
    Decision,
    Document,
    DrafterCandidate,
    DrafterSpec,
    MethodSettings,
    Mode,
    Precision,
)
from casspec.tuner import closed_forms
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter, PlanTrace, count_confidence, survival_by_depth
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import Traces
from casspec.tuner.search.pareto import pareto_front
from casspec.tuner.search.plan_spec import PlanSpec

LOOKUP_TOKENS = 10
MOST_ROUNDS = 4
LARGEST_ALPHA = 0.999
"""Keeps closed forms away from their pole at 1."""

MOST_CONTENDERS = 4

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
    """What the runtime is to run. The first layer-sparse plan of `drafters` serves the methods that run on one."""

    drafters: tuple[DrafterSpec, ...]
    decision: Decision
    methods: tuple[MethodSettings, ...]
    cells: dict[Mode, tuple[AcceptanceCell, ...]]


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


def contenders(
    candidates: Sequence[DrafterCandidate], lookup: Survival, costs: Costs, depth: int
) -> list[DrafterCandidate]:
    """The few candidates of the front whose best use is predicted fastest, were acceptances independent.

    The best layer-sparse one is among them, though quantised ones may dominate it: some methods run on nothing else.

    Args:
        lookup: survival of prompt lookup's drafts.
        depth: longest chain considered.
    """
    retrieved = max(lookup.values(), key=sum)

    def predicted(candidate: DrafterCandidate) -> float:
        alive = [candidate.acceptance**i for i in range(1, depth + 1)]
        return best_use(alive, PlanSpec.of(candidate), retrieved, costs)

    drafting = [candidate for candidate in candidates if not PlanSpec.of(candidate).is_target]
    ranked = sorted(pareto_front(drafting), key=predicted, reverse=True)[:MOST_CONTENDERS]
    sparse = [one for one in drafting if PlanSpec.of(one).precision is Precision.TARGET]
    if sparse and not any(one in sparse for one in ranked):
        ranked = [*ranked[: MOST_CONTENDERS - 1], max(pareto_front(sparse), key=predicted)]
    return ranked


def trace(meter: AcceptanceMeter, candidate: DrafterCandidate, n_layers: int) -> Traces:
    """Depth profiles of a candidate on every recording of `meter`."""
    plan = PlanSpec.of(candidate).plan(n_layers)
    return {
        (recording.prompt_id, recording.mode): meter.depth_profile(plan, index)
        for index, recording in enumerate(meter.recordings)
    }


def measure_contender(candidate: DrafterCandidate, traces: Traces, depth: int) -> Contender:
    """What traces say of a candidate down to `depth`, by decoding mode."""
    name, by_mode = PlanSpec.of(candidate).name, dict[Mode, list[PlanTrace]]()
    for (_, mode), one in traces.items():
        by_mode.setdefault(mode, []).append(one)
    survival, cells = {}, {}
    for mode, found in by_mode.items():
        counter = CellCounter()
        count_confidence(found, name, counter)
        survival[mode] = survival_by_depth(found, depth)
        cells[mode] = counter.cells()
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


def assemble_cascade(
    measured: Sequence[Contender],
    drafters: Sequence[str],
    decision: Decision,
    lookup: Survival,
    costs: Costs,
    for_tasks: Sequence[str] = (),
) -> Cascade:
    """The profile's drafters: those of the cascade, and the fastest layer-sparse one for the methods that run on one.

    Args:
        drafters: contenders that join the cascade (`tuner/cascade/selection.py`); for_tasks: those of cascades for single tasks.
        lookup: survival of prompt lookup's drafts.
    """
    by_name = {one.name: one for one in measured}
    kept = [by_name[name] for name in drafters]
    sparse = [one for one in measured if one.candidate.quantization.precision is Precision.TARGET]
    main: Mode = "sample" if "sample" in lookup else "greedy"
    fastest = max(sparse, key=lambda one: _chain(one, main, costs)[1], default=None)
    beside = [] if fastest is None or fastest in kept else [fastest]
    beside += [by_name[name] for name in dict.fromkeys(for_tasks) if by_name[name] not in kept + beside]
    methods: tuple[MethodSettings, ...] = ()
    if fastest is not None:
        n_tokens = _chain(fastest, main, costs)[0]
        methods = (MethodSettings(method="layer-sparse", variant="tuned", parameters={"n_tokens": n_tokens}),)
    return Cascade(
        drafters=(
            *[_drafter(one, in_cascade=True) for one in kept],
            *[_drafter(one, in_cascade=False) for one in beside],
            *(RETRIEVAL if decision != "off" else ()),
        ),
        decision=decision,
        methods=methods,
        cells={mode: tuple(cell for one in kept + beside for cell in one.cells.get(mode, ())) for mode in lookup},
    )


def _drafter(contender: Contender, in_cascade: bool) -> DrafterSpec:
    """`acceptance` is where the runtime's estimate of the drafter starts; `cascade` whether dytc drafts with it."""
    candidate = contender.candidate
    return DrafterSpec(
        name=contender.name,
        kind="self",
        skip=candidate.skip,
        quantization=candidate.quantization,
        parameters={"acceptance": round(candidate.acceptance, 4), "cascade": in_cascade},
    )


def _chain(contender: Contender, mode: Mode, costs: Costs) -> tuple[int, float]:
    return closed_forms.best_chain(
        contender.survival[mode], costs.draft(PlanSpec.of(contender.candidate)), costs.verify
    )


def best_use(survival: Sequence[float], spec: PlanSpec, lookup: Sequence[float], costs: Costs) -> float:
    """The best of a chain, a vertical and a horizontal cascade over prompt lookup."""
    a, a_lookup = min(survival[0], LARGEST_ALPHA), min(lookup[0], LARGEST_ALPHA)
    step = costs.draft(spec)
    uses = [closed_forms.best_chain(survival, step, costs.verify)[1]]
    for k in range(1, LOOKUP_TOKENS + 1):
        a_round = 1 + closed_forms.expected_accepted(a_lookup, k)  # tokens a reviewed round adds
        review = costs.draft(spec, k + 1)
        for n in range(1, MOST_ROUNDS + 1):
            verify = costs.verify(1 + ceil(n * a_round))
            uses.append(closed_forms.vertical(a, review, n, a_lookup, LOOKUP_COST, k, verify))
    for k1 in range(1, len(survival) + 1):
        for k2 in range(1, LOOKUP_TOKENS + 1):
            tail = survival[k1 - 1] * closed_forms.expected_accepted(a_lookup, k2)
            time = costs.verify(1 + k1 + k2) + k1 * step + k2 * LOOKUP_COST
            uses.append((1 + sum(survival[:k1]) + tail) / time)
    return max(uses)
