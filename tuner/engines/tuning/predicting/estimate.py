"""Estimates what steps cost by draft length from plain decoding alone, for an engine that takes no probe.

A drafted token is taken to cost what the token of one more request does. It may cost less, for it shares its request's cache; so what
comes of this only ranks settings, and is measured afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from casspec.storage.engines.documents import EngineLatency, EngineLatencyPoint
from casspec.tuner.engines.tuning.latency import DRAFTS, StepTime


def estimated_steps(plain: Mapping[int, float]) -> StepTime | None:
    """By the line through plain steps at several numbers of requests; None where there is one number only.

    Args:
        plain: milliseconds of a step without speculation, by requests at a time.
    """
    if len(plain) < 2:
        return None
    slope, _ = np.polyfit(list(plain), list(plain.values()), 1)
    token_ms = max(float(slope), 0.0)
    step_ms = max(float(np.mean([ms - token_ms * batch for batch, ms in plain.items()])), 0.0)
    points = tuple(
        EngineLatencyPoint(batch=batch, draft_tokens=drafted, values_ms=(step_ms + token_ms * batch * (1 + drafted),))
        for batch in plain
        for drafted in DRAFTS
    )
    return StepTime(EngineLatency(points=points, median_error=0.0, largest_error=0.0))
