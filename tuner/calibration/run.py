"""The stages of a calibration after its latencies and recordings are there: search, cascade and profile, mirror.

Each looks in the store for what an earlier run left and adds what is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

from casspec.profiler.progress import Progress
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
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.cascade.contenders import Cascade
from casspec.tuner.cascade.forecast import Selection
from casspec.tuner.cascade.stage import CascadeStage, TuneMethods, affordable, typical_context
from casspec.tuner.external_databases import ExternalDatabases
from casspec.tuner.methods.by_replay import TunedMethods
from casspec.tuner.recordings.recording import Recording, recycling_matrix
from casspec.tuner.search.stage import SearchStage
from casspec.tuner.search.workers.processes import NOBODY, WorkerPool
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.suites.prompts import Suite

MATRIX_NAME = "recycling-matrix"


def dtype_name(target: TargetModel) -> str:
    return str(target.dtype).removeprefix("torch.")


@dataclass(frozen=True)
class CalibrationRun:
    """One calibration under way; `calibration_id` is its ID in the store."""

    repository: Repository
    databases: ExternalDatabases
    tune_methods: TuneMethods
    calibration_id: str
    target: TargetModel
    suite: Suite
    settings: CalibrationSettings
    workers: WorkerPool = NOBODY

    def search(
        self,
        recordings: Sequence[Recording],
        latency: LatencyModel,
        progress: Progress,
        offered: Sequence[Precision] = (),
    ) -> list[DrafterCandidate]:
        """`offered`: precisions besides the target's own that are worth searching."""
        sized = [Quantization(precision=one, extra_bytes=extra_bytes(self.target.weights, one)) for one in offered]
        precisions = [one.precision for one in sized if affordable(one, self.settings.max_extra_bytes)]
        return SearchStage(self.repository, self.databases, self.calibration_id, self.target, self.settings).run(
            recordings,
            latency,
            typical_context(recordings),
            precisions,
            progress,
            self.workers,
        )

    def profile(
        self,
        recordings: Sequence[Recording],
        latency: LatencyModel,
        candidates: Sequence[DrafterCandidate],
        progress: Progress,
    ) -> CascadeProfile:
        """The profile, put together from what the stage of the cascade chose and predicted, and saved."""
        stage = CascadeStage(self.repository, self.calibration_id, self.target, self.settings, self.tune_methods)
        chosen = stage.run(recordings, latency, candidates, progress)
        cascade, selection, tuned = chosen.cascade, chosen.selection, chosen.tuned
        matrix = recycling_matrix(recordings, self.target.vocab_size)
        artifact = self.repository.save_artifact(MATRIX_NAME, matrix.to_bytes(), self.calibration_id)
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
        return self.repository.save_profile(self.calibration_id, profile)

    def track(self, profile: CascadeProfile, progress: Progress) -> None:
        """Mirrors the calibration, whose profile is the candidate of its model from now on."""
        from casspec.tuner.mlflow_mirror.mirror import MLflowMirror

        settings = self.settings.model_dump(mode="json")
        known = CalibrationHistory.of_calibration(self.repository, self.calibration_id, profile, settings)
        aliases = {**known.aliases, CANDIDATE: profile.content_hash()}
        MLflowMirror(self.databases).mirror(replace(known, aliases=aliases), progress)


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
