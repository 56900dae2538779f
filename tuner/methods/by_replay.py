"""Parameters of the retrieval methods, tuned by replay on the tuning half: the same recordings, the same predicted latencies.

Layer-sparse is tuned from its measured depth profile in `tuner/cascade/contenders.py`; `tuner/methods/by_decoding.py` tunes every method by
real decodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Self

from casspec.profiler.progress import Progress, silent
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies.base import ForwardMs, Policy
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.policies.prompt_lookup import PromptLookupPolicy
from casspec.runtime.policies.token_recycling import TokenRecyclingPolicy
from casspec.storage.schema import CASCADE, AcceptancePrior, LatencyModel, MethodSettings, Mode
from casspec.tuner.bench.entries import AUTOREGRESSIVE
from casspec.tuner.methods.grids import GRIDS, settings_of
from casspec.tuner.methods.priors import retrieval_cells
from casspec.tuner.recordings.recording import Recording, recycling_matrix
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.replay.overhead import Overheads
from casspec.tuner.replay.recorded_sequence import Drafting
from casspec.tuner.replay.run import StepCosts
from casspec.tuner.replay.simulate import Replayed, replay

REPLAYED: dict[str, Sequence[str]] = {
    "prompt-lookup": tuple(GRIDS["prompt-lookup"]),
    "token-recycling": tuple(GRIDS["token-recycling"]),
    "dytc": ("max_nodes", "min_mass"),
}
"""Methods tuned by replay, and the axes that make a difference to it: no self-drafter drafts here."""

NO_OVERHEADS = Overheads(by_mode={})

MOST_SETTINGS = 24
"""Settings of a method's grid that are replayed, the same number for all."""

MOST_RECORDINGS = 10
"""Recordings of each decoding mode a retrieval method's setting is replayed on."""


@dataclass(frozen=True)
class TunedMethods:
    """What replaying the recordings found.

    Attributes:
        methods: the parameters that replay fastest, a method each.
        priors: acceptance cells of the retrieval drafters, by decoding mode.
    """

    methods: tuple[MethodSettings, ...]
    priors: tuple[AcceptancePrior, ...]

    def settings(self, method: str) -> dict[str, Any]:
        """The parameters found for a method, {} when it was not tuned."""
        return next((dict(entry.parameters) for entry in self.methods if entry.method == method), {})

    def to_json(self) -> dict[str, Any]:
        return {
            "methods": [method.model_dump(mode="json") for method in self.methods],
            "priors": [prior.model_dump(mode="json") for prior in self.priors],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> TunedMethods:
        return cls(
            tuple(MethodSettings.model_validate(method) for method in value["methods"]),
            tuple(AcceptancePrior.model_validate(prior) for prior in value["priors"]),
        )


@dataclass(frozen=True)
class Tuning:
    """What all methods are tuned on."""

    recordings: Sequence[Recording]
    vocab_size: int
    target_plan: Plan
    forward_ms: ForwardMs
    priors: Mapping[Mode, AcceptancePrior]
    overheads: Overheads = NO_OVERHEADS
    """What steps take beside their forwards."""
    batch: int = 1
    """Sequences side by side that `forward_ms` is for."""

    @classmethod
    def of(
        cls,
        target: TargetModel,
        recordings: Sequence[Recording],
        latency: LatencyModel,
        priors: Sequence[AcceptancePrior],
        overheads: Overheads,
    ) -> Self:
        by_mode = {prior.mode: prior for prior in priors}
        forward_ms = LatencyPredictor(latency).forward_ms
        return cls(recordings, target.vocab_size, target.full_plan, forward_ms, by_mode, overheads)

    @cached_property
    def half_of(self) -> dict[str, int]:
        """0 or 1 by prompt: the recordings of a prompt in all modes, and of all turns of a conversation, are in one half."""
        conversations = dict.fromkeys(recording.conversation_id for recording in self.recordings)
        half = {conversation: place % 2 for place, conversation in enumerate(conversations)}
        return {recording.prompt_id: half[recording.conversation_id] for recording in self.recordings}

    @cached_property
    def matrices(self) -> tuple[RecyclingMatrix, RecyclingMatrix]:
        """For each half the recycling matrix made from the other."""
        halves: tuple[list[Recording], list[Recording]] = ([], [])
        for recording in self.recordings:
            halves[self.half_of[recording.prompt_id]].append(recording)
        return recycling_matrix(halves[1], self.vocab_size), recycling_matrix(halves[0], self.vocab_size)

    @cached_property
    def costs(self) -> StepCosts:
        """What the steps of a method take."""
        return StepCosts(self.target_plan, self.forward_ms, self.overheads, self.batch)


def first_of_each_mode(recordings: Iterable[Recording], count: int) -> list[Recording]:
    """The first `count` recordings of every decoding mode, in their order."""
    seen: dict[Mode, int] = {}
    chosen = []
    for recording in recordings:
        seen[recording.mode] = seen.get(recording.mode, 0) + 1
        if seen[recording.mode] <= count:
            chosen.append(recording)
    return chosen


def tune_methods(
    target: TargetModel,
    recordings: Sequence[Recording],
    latency: LatencyModel,
    overheads: Overheads = NO_OVERHEADS,
    progress: Progress = silent,
) -> TunedMethods:
    """Counts the priors, then tries every setting of every method.

    Args:
        recordings: of the tuning half, of one or both decoding modes.
        progress: called with (settings tried, of how many, method).
    """
    predictor = LatencyPredictor(latency)
    of_mode: dict[Mode, list[Recording]] = {}
    for recording in recordings:
        of_mode.setdefault(recording.mode, []).append(recording)
    priors = [
        AcceptancePrior(
            mode=mode, cells=retrieval_cells(chosen, target.vocab_size, target.full_plan, predictor.forward_ms)
        )
        for mode, chosen in of_mode.items()
    ]
    tuning = Tuning.of(target, first_of_each_mode(recordings, MOST_RECORDINGS), latency, priors, overheads)
    tried = {method: replayable_settings(method)[:MOST_SETTINGS] for method in REPLAYED}
    total = sum(map(len, tried.values()))
    settings, done = [], 0
    for method in REPLAYED:
        best_score, best_parameters = 0.0, {}
        for parameters in tried[method]:
            progress(done, total, method)
            score = geometric_speedup(by_mode(replayed_each(method, _build(method, parameters, tuning), tuning)))
            done += 1
            if score > best_score:
                best_score, best_parameters = score, parameters
        settings.append(MethodSettings(method=method, variant="tuned", parameters=best_parameters))
    return TunedMethods(tuple(settings), tuple(priors))


def replayable_settings(method: str) -> list[dict[str, Any]]:
    """The settings of a method's grid that differ on the axes replay can judge, the published one first."""
    settings: list[dict[str, Any]] = []
    for setting in settings_of(method):
        judged = {axis: setting[axis] for axis in REPLAYED[method]}
        if judged not in settings:
            settings.append(judged)
    return settings


def speedups_of_others(
    tuned: TunedMethods, tuning: Tuning, recordings: Sequence[Recording] | None = None
) -> dict[str, dict[str, float]]:
    """By decoding mode, what the tuned methods other than dytc come to on some recordings, by default all."""
    found: dict[str, dict[str, float]] = {}
    for entry in tuned.methods:
        if entry.method in REPLAYED and entry.method != CASCADE:
            judged = replayed_each(
                entry.method, _build(entry.method, dict(entry.parameters), tuning), tuning, recordings
            )
            for mode, result in by_mode(judged).items():
                found.setdefault(str(mode), {})[entry.method] = result.speedup
    return found


Build = Callable[[RecyclingMatrix, Mode], Policy]
"""A policy from the recycling matrix it may use and the decoding mode."""


Judged = tuple[Recording, Replayed]
"""A recording and what replaying it came to."""


def replayed_each(
    method: str,
    build: Build,
    tuning: Tuning,
    recordings: Sequence[Recording] | None = None,
    traced: Callable[[Plan], TracedPlan] | None = None,
) -> list[Judged]:
    """Replays a policy of `method` on each of some recordings of `tuning`, by default all.

    The recycling matrix used on a recording is made from the half its prompt is not in, as in `tuner/methods/priors.py`.

    Args:
        traced: what the policy's plans said, for a policy with plans.
    """
    policies: dict[tuple[int, Mode], Policy] = {}
    judged = []
    for recording in tuning.recordings if recordings is None else recordings:
        half, mode = tuning.half_of[recording.prompt_id], recording.mode
        if (half, mode) not in policies:
            policies[half, mode] = build(tuning.matrices[half], mode)
        costs = tuning.costs
        result = replay(
            policies[half, mode],
            [recording],
            tuning.vocab_size,
            costs.verify(method, mode),
            costs.verify(AUTOREGRESSIVE, mode),
            None if traced is None else Drafting(traced, costs.draft(method, mode)),
        )
        result.add(costs.beginning(method, mode))
        judged.append((recording, result))
    return judged


def by_mode(judged: Iterable[Judged]) -> dict[Mode, Replayed]:
    """Sums over recordings."""
    totals: dict[Mode, Replayed] = {}
    for recording, result in judged:
        totals.setdefault(recording.mode, Replayed()).add(result)
    return totals


def geometric_speedup(results: Mapping[Mode, Replayed]) -> float:
    """Over the decoding modes, so that neither rules."""
    return float(prod(result.speedup for result in results.values()) ** (1 / max(len(results), 1)))


def _build(method: str, parameters: dict[str, Any], tuning: Tuning) -> Build:
    def build(matrix: RecyclingMatrix, mode: Mode) -> Policy:
        if method == "prompt-lookup":
            return PromptLookupPolicy(**parameters)
        if method == "token-recycling":
            return TokenRecyclingPolicy(matrix, **parameters)
        return DyTC(tuning.target_plan, tuning.forward_ms, matrix=matrix, prior=tuning.priors.get(mode), **parameters)

    return build
