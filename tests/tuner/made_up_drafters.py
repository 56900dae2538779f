"""Replays with drafters that are right as often as a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from casspec.runtime.decoding.acceptance import CellCounter
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import Precision, Quantization
from casspec.tuner.cascade.contenders import Contender
from casspec.tuner.cascade.replay import CascadeReplay
from casspec.tuner.methods.by_replay import Tuning
from casspec.tuner.recordings.offline_acceptance import PlanTrace, count_confidence
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import TracedPlan
from tests.storage import samples
from tests.tuner.tiny import tiny_target

PRECISIONS = {"int8": Precision.INT8_DYNAMIC, "int4": Precision.INT4_WEIGHT}

MODES = ("greedy", "sample")


def forward_ms(plan: Plan, n_tokens: int, context_tokens: int) -> float:
    """The target takes 10 ms, a drafter 1 ms."""
    return 10.0 if plan.precision is Precision.TARGET else 1.0


def replays(
    recordings: Sequence[Recording],
    right: dict[str, Callable[[Recording], float]],
    latency: Callable[[Plan, int, int], float] = forward_ms,
) -> CascadeReplay:
    """Replays with made-up drafters, each named by its precision, that say the true token with the probability `right` gives."""
    target, rng = tiny_target(), np.random.default_rng(0)
    contenders, traced = {}, {}
    for name, probability in right.items():
        counter, found = CellCounter(), {}
        for recording in recordings:
            truth = recording.continuation_tokens
            wrong = (truth[:, None] + np.array([[1, 2, 3, 4]])) % target.vocab_size
            hits = rng.random(len(truth)) < probability(recording)
            ids = np.where(hits[:, None], np.concatenate((truth[:, None], wrong[:, :3]), 1), wrong).astype(np.int32)
            gaps = np.tile(np.array([2.5, -2.5, -3.0, -4.0], np.float32), (len(truth), 1))
            found[recording.prompt_id, recording.mode] = PlanTrace(ids, gaps, truth, np.ones(len(truth), np.int16))
        count_confidence(found.values(), name, counter)
        quantization = Quantization(precision=PRECISIONS[name], extra_bytes={"int8": 800, "int4": 400}[name])
        mean = float(np.mean([probability(recording) for recording in recordings]))
        contenders[name] = Contender(
            candidate=samples.candidate((), acceptance=mean, quantization=quantization),
            survival={},
            cells=dict.fromkeys(MODES, counter.cells()),
        )
        traced[name] = TracedPlan(found)
    tuning = Tuning(recordings, target.vocab_size, target.full_plan, latency, {})
    return CascadeReplay(tuning, contenders, traced, target.n_layers)


def by_task(recordings: Sequence[Recording], tasks: Sequence[str], copies: int) -> list[Recording]:
    """The recordings once a task and copy, under new names."""
    found = []
    for task in tasks:
        for copy in range(copies):
            for recording in recordings:
                fields = {name: getattr(recording, name) for name in Recording.__dataclass_fields__}
                name = f"{task}/{copy}/{recording.prompt_id}"
                found.append(Recording(**fields | {"task": task, "prompt_id": name}))
    return found
