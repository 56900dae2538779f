"""Replays dytc with any self-drafters, any parameters and any latencies, on recordings of the tuning half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.policies.base import ForwardMs, Policy
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.policies.dytc.ablation import Ablation
from casspec.runtime.policies.dytc.reviewer import Reviewer
from casspec.storage.schema import CASCADE, AcceptancePrior, Mode
from casspec.tuner.cascade.contenders import Contender
from casspec.tuner.methods.by_replay import Judged, Tuning, by_mode, geometric_speedup, replayed_each
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.search.plan_spec import PlanSpec

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class CascadeReplay:
    """Replays dytc with any of the contenders; no names are retrieval alone.

    Attributes:
        contenders, traced: by name of the contender; what it said on all recordings of `tuning`.
        start: speedup that dytc takes for granted when a text begins, by mode; without, what it does without a profile.
    """

    tuning: Tuning
    contenders: Mapping[str, Contender]
    traced: Mapping[str, TracedPlan]
    n_layers: int
    start: Mapping[Mode, float] = field(default_factory=dict)

    @property
    def recordings(self) -> Sequence[Recording]:
        return self.tuning.recordings

    def at(self, batch: int, forward_ms: ForwardMs) -> CascadeReplay:
        """The same replays at the latencies of another batch."""
        return replace(self, tuning=replace(self.tuning, batch=batch, forward_ms=forward_ms))

    def started(self, retrieval: Parameters) -> CascadeReplay:
        """The same replays, dytc beginning at what retrieval alone with these parameters comes to: with a profile it begins at what is
        predicted, and believing too little it reviews until the text is over."""
        alone = by_mode(self.run((), retrieval))
        return replace(self, start={mode: replayed.speedup for mode, replayed in alone.items()})

    def run(
        self, names: Sequence[str], parameters: Parameters, recordings: Sequence[Recording] | None = None
    ) -> list[Judged]:
        """What each recording came to, by default of all."""

        def build(matrix: RecyclingMatrix, mode: Mode) -> Policy:
            tuning = self.tuning
            reviewers = [self._reviewer(name, mode) for name in names]
            prior = tuning.priors.get(mode)
            start = {"start_speedup": self.start[mode]} if mode in self.start else {}
            return DyTC(tuning.target_plan, tuning.forward_ms, [*reviewers], matrix, prior, **{**start, **parameters})

        return replayed_each(CASCADE, build, self.tuning, recordings, lambda plan: self.traced[plan.name])

    def score(
        self, names: Sequence[str], parameters: Parameters, recordings: Sequence[Recording] | None = None
    ) -> float:
        """Predicted speedup, the geometric mean over decoding modes."""
        return geometric_speedup(by_mode(self.run(names, parameters, recordings)))

    def extra_bytes(self, names: Sequence[str]) -> int:
        """Memory of the packed weights these plans need beside the target's own: those of one precision share theirs."""
        plans = [self.contenders[name].candidate.quantization for name in names]
        return sum({plan.precision: plan.extra_bytes for plan in plans}.values())

    def _reviewer(self, name: str, mode: Mode) -> Reviewer:
        contender = self.contenders[name]
        candidate = contender.candidate
        prior = AcceptancePrior(mode=mode, cells=contender.cells.get(mode, ()))
        table = Ablation().reviewer_table(name, candidate.acceptance, prior)
        return Reviewer(PlanSpec.of(candidate).plan(self.n_layers), table, candidate.acceptance)
