"""The stages of a calibration after its latencies and recordings are there: search, cascade and profile, mirror.

Each looks in the store for what an earlier run left and adds what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Protocol

from casspec.profiler.stored import with_ceilings
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.quantization import extra_bytes
from casspec.runtime.model.target import TargetModel
from casspec.storage.repository import CANDIDATE, Repository
from casspec.storage.schema import (
    CASCADE,
    AcceptancePrior,
    CascadeProfile,
    DrafterCandidate,
    LatencyModel,
    MethodSettings,
    Precision,
    Quantization,
)
from casspec.tuner.calibration_history import Calibrated
from casspec.tuner.cascade.contenders import Cascade
from casspec.tuner.cascade.forecast import Selection
from casspec.tuner.cascade.stage import Bar, CascadeStage, TuneMethods, affordable, typical_context
from casspec.tuner.external_databases import Companions
from casspec.tuner.methods.by_replay import TunedMethods
from casspec.tuner.recordings.recording import Recording, recycling_matrix
from casspec.tuner.search.stage import SearchStage
from casspec.tuner.search.workers.processes import NOBODY, Crew
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.suites.prompts import Suite

MATRIX_NAME = "recycling-matrix"


class Stages(Protocol):
    """Shows the stages of a run; `casspec.cli.console.progress` gives one."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Bar]: ...


def dtype_name(target: TargetModel) -> str:
    return str(target.dtype).removeprefix("torch.")


@dataclass(frozen=True)
class CalibrationRun:
    """One calibration under way; `key` is its ID in the store."""

    repository: Repository
    places: Companions
    tune_methods: TuneMethods
    key: str
    target: TargetModel
    suite: Suite
    settings: CalibrationSettings
    crew: Crew = NOBODY

    def search(
        self,
        recordings: Sequence[Recording],
        latency: LatencyModel,
        bar: Bar,
        offered: Sequence[Precision] = (),
    ) -> list[DrafterCandidate]:
        """`offered`: precisions besides the target's own that are worth searching."""
        sized = [Quantization(precision=one, extra_bytes=extra_bytes(self.target, one)) for one in offered]
        precisions = [one.precision for one in sized if affordable(one, self.settings.max_extra_bytes)]
        return SearchStage(self.repository, self.places, self.key, self.target, self.settings).run(
            recordings,
            latency,
            typical_context(recordings),
            precisions,
            lambda done, note: bar.update(done, self.settings.trials, note),
            self.crew,
        )

    def profile(
        self,
        recordings: Sequence[Recording],
        latency: LatencyModel,
        candidates: Sequence[DrafterCandidate],
        bar: Bar,
    ) -> CascadeProfile:
        """The profile, put together from what the stage of the cascade chose and predicted, and saved."""
        stage = CascadeStage(self.repository, self.key, self.target, self.settings, self.tune_methods)
        chosen = stage.run(recordings, latency, candidates, bar)
        cascade, selection, tuned = chosen.cascade, chosen.selection, chosen.tuned
        matrix = recycling_matrix(recordings, self.target.vocab_size)
        artifact = self.repository.save_artifact(MATRIX_NAME, matrix.to_bytes(), self.key)
        device = with_ceilings(self.repository, device_fingerprint(self.target.device), self.target)
        profile = CascadeProfile(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            casspec_version=version("casspec"),
            model=model_fingerprint(self.target),
            device=device,
            dtype=dtype_name(self.target),
            drafters=cascade.drafters,
            latency=latency,
            acceptance=_priors(tuned, cascade),
            methods=_methods(tuned, selection) + cascade.methods,
            artifacts=(artifact,),
            predicted_speedup={str(mode): value for mode, value in selection.predicted_speedup.items()},
            predicted_interval=selection.predicted_interval,
            predicted_by_task=chosen.predicted_by_task,
            predicted_by_batch=selection.predicted_by_batch,
            decision=cascade.decision,
            by_task={task: verdict.own for task, verdict in chosen.tasks.items() if verdict.own is not None},
            task_gains={task: verdict.gain for task, verdict in chosen.tasks.items() if verdict.gain is not None},
            suite=self.suite.name,
            seed=self.settings.seed,
        )
        return self.repository.save_profile(self.key, profile)

    def track(self, profile: CascadeProfile, bar: Bar) -> None:
        """Mirrors the calibration, whose profile is the candidate of its model from now on."""
        from casspec.tuner.mlflow_mirror.mirror import Tracker

        settings = self.settings.model_dump(mode="json")
        known = Calibrated.of_calibration(self.repository, self.key, profile, settings)
        aliases = {**known.aliases, CANDIDATE: profile.content_hash()}
        Tracker(self.places).mirror(replace(known, aliases=aliases), bar.update)


def _methods(tuned: TunedMethods, selection: Selection) -> tuple[MethodSettings, ...]:
    """As replayed, dytc as it replays with the chosen drafters."""
    return tuple(
        entry.model_copy(update={"parameters": selection.parameters}) if entry.method == CASCADE else entry
        for entry in tuned.methods
    )


def _priors(tuned: TunedMethods, cascade: Cascade) -> tuple[AcceptancePrior, ...]:
    """Replayed priors of the retrieval drafters with the measured cells of the self-drafters."""
    modes = dict.fromkeys([prior.mode for prior in tuned.priors] + list(cascade.cells))
    return tuple(
        AcceptancePrior(
            mode=mode,
            cells=tuple(cell for prior in tuned.priors if prior.mode == mode for cell in prior.cells)
            + tuple(cascade.cells.get(mode, ())),
        )
        for mode in modes
    )
