"""Estimates what steps cost by draft length from plain decoding alone, for an engine that takes no probe.

A drafted token is taken to cost what the token of one more request does. It may cost less, for it shares its request's cache; so what
comes of this only ranks settings, and is measured afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from casspec.storage.engines.documents import EngineLatency, EngineLatencyPoint, EngineMeasurement
from casspec.tuner.engines.tuning.latency import StepTime
from casspec.tuner.engines.tuning.prediction import PlainSpeed


def estimated_steps(plain: Mapping[int, EngineMeasurement]) -> StepTime | None:
    """By the line through plain steps at several numbers of requests; None where there is one number only.

    Args:
        plain: measurements without speculation, by requests at a time.
    """
    if len(plain) < 2:
        return None
    speeds = [PlainSpeed.of(figures) for figures in plain.values()]
    slope, _ = np.polyfit([each.concurrency for each in speeds], [each.step_ms for each in speeds], 1)
    token_ms = max(float(slope), 0.0)
    step_ms = max(float(np.mean([each.step_ms - token_ms * each.concurrency for each in speeds])), 0.0)
    points = tuple(
        EngineLatencyPoint(batch=each.concurrency, draft_tokens=0, values_ms=(each.step_ms,)) for each in speeds
    )
    coefficients = {"step": step_ms, "token": token_ms}
    return StepTime(EngineLatency(points=points, coefficients=coefficients, median_error=0.0, largest_error=0.0))
