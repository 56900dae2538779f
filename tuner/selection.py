"""Which self-drafters join the cascade: those with which dytc replays faster than without them.

Not the most accepted drafter nor the cheapest wins, but the one the whole cascade is fastest with: contenders are replayed inside dytc
on the recordings of the tuning half, one is added at a time, and each must earn its place (greedy forward selection).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.policies.base import Policy
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.policies.dytc.ablation import Ablation
from casspec.storage.schema import AcceptancePrior, Document, Mode
from casspec.tuner.acceptance import AcceptanceMeter, PlanTrace
from casspec.tuner.cascade import Contender
from casspec.tuner.method_tuning import Build, Tuning, geometric_speedup, replayed
from casspec.tuner.plans import PlanSpec
from casspec.tuner.replay import ReplayedReviewer

MOST_SELF_DRAFTERS = 2
LEAST_GAIN = 1.02
"""Times faster a further drafter must make the replay: less is within what replay and latencies are known to."""

MOST_RECORDINGS = 6
"""Of each decoding mode that a cascade is replayed on."""

SETTINGS: tuple[dict[str, Any], ...] = ({}, {"max_nodes": 32}, {"max_nodes": 48}, {"max_nodes": 64, "max_review": 8})
"""Changes to dytc's parameters tried with the chosen drafters: reviewed trees are larger than retrieved ones."""

Traces = dict[tuple[str, str], PlanTrace]


class Selection(Document):
    """The drafters of a cascade, dytc's parameters with them, and the speedup replay predicts by decoding mode."""

    drafters: tuple[str, ...]
    parameters: dict[str, int | float | str | bool]
    predicted_speedup: dict[Mode, float]


@dataclass(frozen=True)
class CascadeReplay:
    """Replays dytc with any of the contenders."""

    tuning: Tuning
    contenders: dict[str, Contender]
    traces: dict[str, Traces]
    n_layers: int

    def speedups(self, names: Sequence[str], parameters: dict[str, Any]) -> dict[Mode, float]:
        """By decoding mode; `names` [] is dytc with retrieval alone."""
        results = replayed(self._build(names, parameters), self.tuning)
        return {mode: result.speedup for mode, result in results.items()}

    def score(self, names: Sequence[str], parameters: dict[str, Any]) -> float:
        return geometric_speedup(replayed(self._build(names, parameters), self.tuning))

    def _build(self, names: Sequence[str], parameters: dict[str, Any]) -> Build:
        tuning = self.tuning

        def build(matrix: RecyclingMatrix, mode: Mode) -> Policy:
            reviewers = [self._reviewer(name, mode) for name in names]
            prior = tuning.priors.get(mode)
            return DyTC(tuning.target_plan, tuning.forward_ms, [*reviewers], matrix, prior, **parameters)

        return build

    def _reviewer(self, name: str, mode: Mode) -> ReplayedReviewer:
        contender = self.contenders[name]
        candidate = contender.candidate
        prior = AcceptancePrior(mode=mode, cells=contender.cells.get(mode, ()))
        table = Ablation().reviewer_table(name, candidate.acceptance, prior)
        plan = PlanSpec.of(candidate).plan(self.n_layers)
        return ReplayedReviewer(plan, table, candidate.acceptance, self.traces[name], self.tuning.forward_ms)


def forward_selection(
    names: Sequence[str], score: Callable[[Sequence[str]], float], most: int = MOST_SELF_DRAFTERS
) -> tuple[str, ...]:
    """Adds the name that raises the score most for as long as one raises it by LEAST_GAIN."""
    chosen: list[str] = []
    best = score(chosen)
    while len(chosen) < most:
        scored = [(score([*chosen, name]), name) for name in names if name not in chosen]
        if not scored:
            break
        top, name = max(scored)
        if top < best * LEAST_GAIN:
            break
        best = top
        chosen.append(name)
    return tuple(chosen)


def select_cascade(
    tuning: Tuning,
    contenders: Sequence[Contender],
    meter: AcceptanceMeter,
    parameters: dict[str, Any],
    n_layers: int,
    progress: Callable[[str], None] = lambda note: None,
) -> Selection:
    """Chooses drafters by replay, then dytc's tree sizes with them.

    Args:
        tuning: its recordings are cut to MOST_RECORDINGS a mode.
        meter: over the same recordings as the contenders were measured on.
        parameters: of dytc, tuned for retrieval alone.
    """
    chosen = [
        recording
        for mode in dict.fromkeys(recording.mode for recording in tuning.recordings)
        for recording in [one for one in tuning.recordings if one.mode == mode][:MOST_RECORDINGS]
    ]
    kept = {(recording.prompt_id, recording.mode) for recording in chosen}
    traces: dict[str, Traces] = {}
    for contender in contenders:
        progress(f"tracing {contender.name}")
        plan = PlanSpec.of(contender.candidate).plan(n_layers)
        traces[contender.name] = {
            (recording.prompt_id, recording.mode): meter.depth_profile(plan, index)
            for index, recording in enumerate(meter.recordings)
            if (recording.prompt_id, recording.mode) in kept
        }
    small = Tuning(chosen, tuning.vocab_size, tuning.target_plan, tuning.forward_ms, tuning.priors)
    replays = CascadeReplay(small, {one.name: one for one in contenders}, traces, n_layers)

    def score(names: Sequence[str]) -> float:
        progress("replaying " + (" + ".join(names) or "retrieval alone"))
        return replays.score(names, parameters | (SETTINGS[1] if names else {}))

    names = forward_selection([contender.name for contender in contenders], score)
    if not names:
        return Selection(drafters=(), parameters=parameters, predicted_speedup=replays.speedups((), parameters))
    progress("sizing the tree")
    best = max((parameters | changes for changes in SETTINGS), key=lambda tried: replays.score(names, tried))
    return Selection(drafters=names, parameters=best, predicted_speedup=replays.speedups(names, best))
