"""A calibration from end to end: profile, record, search, choose the cascade, publish.

Every stage leaves its outcome in the store as it goes and looks there first, so that a run that was interrupted or
killed anywhere goes on from there and ends with the same rows as an uninterrupted one.
"""

from __future__ import annotations

from casspec.profiler.progress import Stages, Tell, untold
from casspec.storage.schema import CascadeProfile
from casspec.tuner.calibration.profile import profile
from casspec.tuner.calibration.publish import publish
from casspec.tuner.cascade.stage import TuneMethods, choose_cascade
from casspec.tuner.context import CalibrationContext
from casspec.tuner.methods.by_replay import tune_methods
from casspec.tuner.recordings.stage import record
from casspec.tuner.search.stage import search
from casspec.tuner.search.workers.processes import NOBODY, WorkerPool

STAGES = ("profile", "record", "search", "cascade", "publish")


def calibrate(
    context: CalibrationContext,
    stages: Stages,
    workers: WorkerPool = NOBODY,
    tune: TuneMethods = tune_methods,
    tell: Tell = untold,
) -> CascadeProfile:
    """Runs or resumes a calibration (`casspec.tuner.calibration.attempt` begins one) and returns its profile.

    Args:
        workers: who helps with the search.
        tune: tunes the methods, by default by replay.
        tell: told in a line each what does not fit the model's context and what the search may take.

    Raises:
        UnsupportedModel: a model without a tokenizer; SuiteError: prompts that do not fit its context.
    """
    with stages.stage("profile") as progress:
        latency = profile(context, progress)
    with stages.stage("record") as progress:
        recordings = record(context, progress, tell=tell)
    with stages.stage("search") as progress:
        candidates = search(context, recordings, latency, progress, workers, tell)
    with stages.stage("cascade") as progress:
        chosen = choose_cascade(context, recordings, latency, candidates, progress, tune)
    with stages.stage("publish") as progress:
        published = publish(context, recordings, latency, chosen, progress)
    context.repository.finish(context.calibration_id)
    return published
