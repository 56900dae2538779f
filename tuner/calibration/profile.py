"""The first stage of a calibration: what forwards take on this device."""

from __future__ import annotations

from casspec.profiler.progress import Progress
from casspec.profiler.stored import profile_stored
from casspec.runtime.loading.device import device_fingerprint
from casspec.storage.schema import LatencyModel
from casspec.tuner.context import CalibrationContext


def profile(context: CalibrationContext, progress: Progress) -> LatencyModel:
    """The fitted latency model; points that are stored are not measured again."""
    asked = context.settings.profile
    return profile_stored(
        context.repository,
        context.calibration_id,
        context.target,
        device_fingerprint(context.target.device),
        progress,
        asked.seconds,
        context.settings.seed,
        asked.max_context,
        asked.max_batch,
        least_rounds=asked.rounds,
    )
