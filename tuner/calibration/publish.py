"""The last stage of a calibration: its profile is put together, stored, and mirrored to MLflow as the new candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version

from casspec.profiler.progress import Progress
from casspec.profiler.stored import with_ceilings
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.storage.schema import (
    CASCADE,
    RECYCLING_MATRIX,
    AcceptancePrior,
    CascadeProfile,
    LatencyModel,
    MethodSettings,
)
from casspec.storage.summaries.aliases import CANDIDATE
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.cascade.contenders import Cascade
from casspec.tuner.cascade.forecast import Selection
from casspec.tuner.cascade.stage import Chosen
from casspec.tuner.context import CalibrationContext
from casspec.tuner.methods.by_replay import TunedMethods
from casspec.tuner.mlflow_mirror.owed import Debt
from casspec.tuner.mlflow_mirror.telling import tell_mlflow
from casspec.tuner.recordings.recording import Recording, recycling_matrix


def publish(
    context: CalibrationContext,
    recordings: Sequence[Recording],
    latency: LatencyModel,
    chosen: Chosen,
    progress: Progress,
) -> CascadeProfile:
    """The profile that stands in the store afterwards, the calibration's only one."""
    saved = context.repository.save_profile(context.calibration_id, _assembled(context, recordings, latency, chosen))
    mirror(context, saved, progress)
    return saved


def mirror(context: CalibrationContext, profile: CascadeProfile, progress: Progress) -> None:
    """Brings MLflow up to date with the calibration, whose profile is the candidate of its model from now on.

    Where MLflow cannot be told, see `tell_mlflow`.
    """
    settings = context.settings.model_dump(mode="json")
    history = CalibrationHistory.of_calibration(context.repository, context.calibration_id, profile, settings)
    history = replace(history, aliases={**history.aliases, CANDIDATE: profile.content_hash()})
    debt = Debt(profile.content_hash())
    tell_mlflow(context.repository, context.databases, debt, lambda mlflow: mlflow.mirror(history, progress))


def _assembled(
    context: CalibrationContext, recordings: Sequence[Recording], latency: LatencyModel, chosen: Chosen
) -> CascadeProfile:
    """What the stages found, in one document."""
    repository, target = context.repository, context.target
    cascade, selection, tuned = chosen.cascade, chosen.selection, chosen.tuned
    matrix = recycling_matrix(recordings, target.vocab_size)
    artifact = repository.save_artifact(RECYCLING_MATRIX, matrix.to_bytes(), context.calibration_id)
    return CascadeProfile(
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        casspec_version=version("casspec"),
        model=model_fingerprint(target),
        device=with_ceilings(repository, device_fingerprint(target.device), target),
        dtype=target.dtype_name,
        backend=None if target.backend == "lean" else target.backend,
        forwards=target.forwards,
        drafters=cascade.drafters,
        latency=latency,
        acceptance=_priors(tuned, cascade),
        methods=_methods(tuned, selection) + cascade.methods,
        artifacts=(artifact,),
        predicted_speedup={str(mode): value for mode, value in selection.predicted_speedup.items()},
        predicted_interval=selection.predicted_interval,
        predicted_by_task=chosen.predicted_by_task,
        predicted_by_batch=selection.predicted_by_batch,
        predicted_of_others=selection.predicted_of_others,
        decision=cascade.decision,
        by_task={task: verdict.own for task, verdict in chosen.tasks.items() if verdict.own is not None},
        task_gains={task: verdict.gain for task, verdict in chosen.tasks.items() if verdict.gain is not None},
        suite=context.suite.name,
        seed=context.settings.seed,
    )


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
