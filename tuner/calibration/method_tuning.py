"""Methods tuned by real decodes, as a calibration of its own: what another one measured is taken over, and its profile published
anew with a tuned setting a method.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from casspec.profiler.progress import Stages
from casspec.storage.schema import CascadeProfile, MethodSettings
from casspec.tuner.calibration.attempt import finished, take_over
from casspec.tuner.calibration.publish import mirror
from casspec.tuner.context import CalibrationContext
from casspec.tuner.methods.by_decoding import Folds, Generators, RunTuned, RunTuner, fold_decoders
from casspec.tuner.recordings.stage import stored_recordings
from casspec.tuner.settings import RunTuningSettings

RUN_STAGES = ("tune", "publish")


def tune_by_decoding(
    context: CalibrationContext,
    settings: RunTuningSettings,
    old: CascadeProfile,
    stages: Stages,
    generators: Generators | None = None,
) -> tuple[CascadeProfile, list[RunTuned]]:
    """Tunes the methods that the settings name and publishes the old profile with what was found as a new one.

    Interrupted, the same call goes on with the method it was at.

    Args:
        context: of the new calibration. settings: its own, which name the methods.
        generators: by default real decoders of the target on `old`.

    Raises ProfileNotFound where `old` was imported, so that no recordings of it are stored.
    """
    repository, calibration_id = context.repository, context.calibration_id
    take_over(repository, repository.calibration_of(old.content_hash())[0], calibration_id)
    folds = Folds.of(context.suite, context.target, settings, stored_recordings(repository, calibration_id))
    with stages.stage("tune") as progress:
        decoders = generators or fold_decoders(repository, calibration_id, context.target, old, folds)
        stored = {method: old.settings(method) for method in settings.tune.methods}
        outcomes = RunTuner(repository, calibration_id, settings, folds, old.drafters, decoders, stored).run(progress)
    new = repository.save_profile(calibration_id, tuned_profile(old, outcomes))
    if finished(repository, context.target, settings) is None:
        with stages.stage("publish") as progress:
            mirror(context, new, progress)
        repository.finish(calibration_id)
    return new, outcomes


def tuned_profile(old: CascadeProfile, outcomes: Sequence[RunTuned]) -> CascadeProfile:
    """The old profile with the outcomes in place of what it said of these methods' tuned variants."""
    found = {
        outcome.method: MethodSettings(method=outcome.method, variant="tuned", parameters=outcome.parameters)
        for outcome in outcomes
        if not outcome.skipped
    }
    kept = [entry for entry in old.methods if entry.variant != "tuned" or entry.method not in found]
    return old.model_copy(
        update={
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "casspec_version": version("casspec"),
            "methods": (*kept, *found.values()),
        }
    )
