"""What a chosen cascade is predicted to gain, by decoding mode, by task and by batch, and what to decode with accordingly."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Literal

from casspec.runtime.dsia import Plan
from casspec.runtime.latency import LatencyPredictor
from casspec.runtime.policies.base import ForwardMs
from casspec.runtime.target import CONTEXT_STEP
from casspec.storage.predictions import BatchPrediction, Decision
from casspec.storage.schema import Document, LatencyPoint, Mode
from casspec.tuner.cascade_replay import CascadeReplay, Parameters
from casspec.tuner.method_tuning import Judged, by_mode, first_of_each_mode, geometric_speedup
from casspec.tuner.recordings import Recording
from casspec.tuner.selection import Choice, decide

BATCHES = (1, 2, 4, 8, 16, 32)

BATCH_RECORDINGS = 5
"""Of each decoding mode that batches beyond 1 are replayed on."""

Speedups = dict[Mode, float]


class Selection(Document):
    """What was chosen and what it is predicted to gain."""

    drafters: tuple[str, ...]
    parameters: dict[str, int | float | str | bool]
    decision: Decision
    predicted_speedup: Speedups
    predicted_by_task: dict[str, dict[str, float]]
    """By decoding mode and task."""
    predicted_by_batch: tuple[BatchPrediction, ...] = ()

    @property
    def choice(self) -> Choice:
        return Choice(self.drafters, self.parameters)


def forecast(
    replays: CascadeReplay, choice: Choice, retrieval: Parameters, recordings: Sequence[Recording] | None = None
) -> Selection:
    """The choice or retrieval alone or nothing, whichever is fastest, and its speedups.

    Args:
        retrieval: parameters of dytc for retrieval alone.
        recordings: judged on; by default all.
    """
    alone = replays.run((), retrieval if choice.drafters else choice.parameters, recordings)
    judged = replays.run(choice.drafters, choice.parameters, recordings) if choice.drafters else None
    decision = decide(None if judged is None else _speedup(judged), _speedup(alone))
    if judged is None or decision != "cascade":
        choice, judged = Choice((), retrieval if choice.drafters else choice.parameters), alone
    return Selection(
        drafters=choice.drafters,
        parameters=dict(choice.parameters),
        decision=decision,
        predicted_speedup=_by_mode(judged, decision),
        predicted_by_task=_by_mode_and_task(judged, decision),
    )


def by_batch(
    replays: CascadeReplay, choice: Choice, retrieval: Parameters, latency: LatencyPredictor
) -> tuple[BatchPrediction, ...]:
    """The fastest of the choice, retrieval alone and nothing at every batch of BATCHES, at the latencies of that batch.

    Sequences of a batch are taken to draft trees of one size and to end together, which no real batch does: an upper bound.
    """
    few = first_of_each_mode(replays.recordings, BATCH_RECORDINGS)
    predictions = []
    for batch in BATCHES:
        at_batch = replays if batch == 1 else replays.at(batch, forward_ms_at(latency, batch))
        found = forecast(at_batch, choice, retrieval, None if batch == 1 else few)
        predictions.append(
            BatchPrediction(
                batch=batch,
                decision=found.decision,
                speedup={str(mode): value for mode, value in found.predicted_speedup.items()},
                latencies=_provenance(replays, latency, batch),
                verified=batch == 1,
            )
        )
    return tuple(predictions)


def forward_ms_at(latency: LatencyPredictor, batch: int) -> ForwardMs:
    """Predicted milliseconds of a forward over a batch, each sequence with the given query and context tokens."""
    known: dict[tuple[str, int, int], float] = {}

    def forward_ms(plan: Plan, n_tokens: int, context_tokens: int) -> float:
        key = (plan.name, n_tokens, (context_tokens + n_tokens - 1) // CONTEXT_STEP)
        if key not in known:
            known[key] = latency.predict_ms(_point(plan, n_tokens, context_tokens, batch))
        return known[key]

    return forward_ms


def _point(plan: Plan, n_tokens: int, context_tokens: int, batch: int) -> LatencyPoint:
    return LatencyPoint(
        subject="forward",
        n_attention=plan.n_attention,
        n_mlp=plan.n_mlp,
        precision=plan.precision,
        n_tokens=n_tokens,
        context_tokens=context_tokens,
        batch=batch,
    )


def _provenance(
    replays: CascadeReplay, latency: LatencyPredictor, batch: int
) -> Literal["measured", "interpolated", "extrapolated"]:
    """Where the latency of a plain step in the middle of a recording comes from."""
    context = round(median(len(recording.tokens) for recording in replays.recordings))
    return latency.provenance(_point(replays.tuning.target_plan, 1, context, batch))


def _speedup(judged: Sequence[Judged]) -> float:
    return geometric_speedup(by_mode(judged))


def _by_mode(judged: Sequence[Judged], decision: Decision) -> Speedups:
    """1 where nothing is drafted."""
    return {mode: 1.0 if decision == "off" else result.speedup for mode, result in by_mode(judged).items()}


def _by_mode_and_task(judged: Sequence[Judged], decision: Decision) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for task in dict.fromkeys(recording.task for recording, _ in judged):
        of_task = [one for one in judged if one[0].task == task]
        for mode, speedup in _by_mode(of_task, decision).items():
            found.setdefault(str(mode), {})[task] = speedup
    return found
