"""About what a calibration of a model will take, from a few forwards: for whoever asks before there is a latency model."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import NamedTuple

import torch

from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import Precision
from casspec.tuner.recordings.offline_acceptance import RESIDENT_BYTES
from casspec.tuner.recordings.side_by_side import MOST_BYTES, MOST_TOGETHER
from casspec.tuner.recordings.teacher_forcing import LONGEST_CHUNK
from casspec.tuner.search.budget import ForwardSeconds, plan_search, rest_seconds
from casspec.tuner.settings import CalibrationSettings

PROMPT_TOKENS = 256
"""Of a usual prompt."""

FIXED_S = 30.0
"""Of starting, loading, compiling and writing, whatever the model."""

TIMED = 5
"""Calls of a forward, the first of which is not counted."""


class Forecast(NamedTuple):
    """About what a calibration takes.

    Attributes:
        seconds: of all its stages. n_bytes: of memory beside the model's weights, at most.
        token_ms, together_ms: a forward of one token, and of MOST_TOGETHER, after a usual prompt.
    """

    seconds: float
    n_bytes: int
    token_ms: float
    together_ms: float


def forecast(target: TargetModel, settings: CalibrationSettings) -> Forecast:
    """Times forwards of a model, which takes a few seconds, and adds up."""
    precisions = [one for one in Precision if one is not Precision.TARGET and target.refusal(one) is None]
    record, search = settings.record, settings.search
    longest = min(LONGEST_CHUNK, target.max_context - 1)
    prompt = min(PROMPT_TOKENS, target.max_context - MOST_TOGETHER)
    run = _forwards(target)
    one, together, chunk = run(1, prompt), run(MOST_TOGETHER, prompt), run(longest, 0) / longest
    forward = ForwardSeconds(one, together / MOST_TOGETHER, record.tokens * chunk, prompt * chunk)
    searched = plan_search(settings, target.n_layers, len(precisions), search.recordings, forward).seconds
    text_bytes = (prompt + record.tokens) * target.cached_bytes
    resident = min(search.recordings * text_bytes, RESIDENT_BYTES)
    beside = min(MOST_TOGETHER * text_bytes, MOST_BYTES)
    packed = sum(target.extra_bytes(precision) for precision in precisions)
    seconds = FIXED_S + rest_seconds(settings, forward) + searched
    return Forecast(seconds, resident + beside + packed, 1e3 * one, 1e3 * together)


def _forwards(target: TargetModel) -> Callable[[int, int], float]:
    """Seconds of a forward over so many tokens after so many."""
    cache = target.new_cache(min(target.max_context, PROMPT_TOKENS + LONGEST_CHUNK))
    cache.scatter()
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)

    def seconds(n_tokens: int, context: int) -> float:
        given, times = inputs.causal([1] * n_tokens, context).clone(), []
        for _ in range(TIMED):
            begin = perf_counter()
            target.forward(given, cache, target.full_plan)
            if target.device.type == "cuda":
                torch.cuda.synchronize(target.device)
            times.append(perf_counter() - begin)
        return median(times[1:])

    return seconds
