"""What a chosen cascade is predicted to gain, by decoding mode, by task and by batch, and what to decode with accordingly."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import geometric_mean, median
from typing import Literal

import numpy as np
from pydantic import Field

from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.storage.schema import BatchPrediction, Decision, Document, LatencyModel, Mode
from casspec.tuner.bench.entries import AUTOREGRESSIVE
from casspec.tuner.cascade.replay import CascadeReplay, Parameters
from casspec.tuner.cascade.selection import Choice, decide
from casspec.tuner.methods.by_replay import Judged, by_mode, first_of_each_mode, geometric_speedup
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.replay.simulate import Replayed

BATCHES = (1, 2, 4, 8, 16, 32)

BATCH_RECORDINGS = 5
"""Of each decoding mode that batches beyond 1 are replayed on."""

RESAMPLES, INTERVAL = 2000, (5.0, 95.0)
"""Of the bootstrap over prompts, and the percentiles it is told by."""

Speedups = dict[Mode, float]


class Selection(Document):
    """What was chosen and what it is predicted to gain."""

    drafters: tuple[str, ...]
    parameters: dict[str, int | float | str | bool]
    decision: Decision
    predicted_speedup: Speedups
    predicted_by_task: dict[str, dict[str, float]]
    """By decoding mode and task."""
    predicted_interval: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """By decoding mode, see `interval`."""
    predicted_by_batch: tuple[BatchPrediction, ...] = ()
    predicted_of_others: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Of plainer methods, by decoding mode and method."""


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
        predicted_interval={} if decision == "off" else intervals(judged),
    )


def by_batch(
    replays: CascadeReplay, single: Selection, choice: Choice, retrieval: Parameters, model: LatencyModel
) -> tuple[BatchPrediction, ...]:
    """The fastest of the choice, retrieval alone and nothing at every batch of BATCHES, at the latencies of that batch.

    Sequences of a batch are taken to draft trees of one size and to end together, which no real batch does: an upper bound. Beyond
    batch 1 a few recordings are replayed, which may be easier or harder than all: how a batch changes their speedup is how it is
    taken to change that of all.

    Args:
        single: what `forecast` found of the choice on all recordings, at batch 1.
    """
    few = first_of_each_mode(replays.recordings, BATCH_RECORDINGS)
    same = single if len(few) == len(replays.recordings) else forecast(replays, choice, retrieval, few)
    predictions = []
    for batch in BATCHES:
        latency = LatencyPredictor(model, batch)
        at = replays.at(batch, latency.forward_ms)
        decision, speedups = single.decision, single.predicted_speedup
        if batch > 1:
            found = forecast(at.started(retrieval), choice, retrieval, few)
            decision, speedups = _as_on_all(found, same, single)
        predictions.append(
            BatchPrediction(
                batch=batch,
                decision=decision,
                speedup={str(mode): value for mode, value in speedups.items()},
                latencies=_provenance(replays, latency),
                verified=batch == 1,
                tokens_per_s={str(mode): _plain_tokens_per_s(at, mode) * value for mode, value in speedups.items()},
                context_tokens=_middle(replays),
            )
        )
    return tuple(predictions)


def _as_on_all(found: Selection, few: Selection, single: Selection) -> tuple[Decision, Speedups]:
    """What was found on a few recordings as it would be on all, from what both are at batch 1."""
    if "off" in (found.decision, few.decision, single.decision):
        return found.decision, found.predicted_speedup
    speedups = {
        mode: speedup * single.predicted_speedup[mode] / few.predicted_speedup[mode]
        for mode, speedup in found.predicted_speedup.items()
    }
    if decide(None, geometric_mean(speedups.values())) == "off":
        return "off", dict.fromkeys(speedups, 1.0)
    return found.decision, speedups


def _plain_tokens_per_s(replays: CascadeReplay, mode: Mode) -> float:
    """Of plain decoding of a batch in the middle of its texts."""
    step_ms = replays.tuning.costs.verify(AUTOREGRESSIVE, mode)(1, _middle(replays))
    return 1e3 * replays.tuning.batch / step_ms


def _middle(replays: CascadeReplay) -> int:
    """Tokens before the middle of a recording."""
    return round(median([len(one.prompt_tokens) + len(one.continuation_tokens) / 2 for one in replays.recordings]))


def _provenance(
    replays: CascadeReplay, latency: LatencyPredictor
) -> Literal["measured", "interpolated", "extrapolated"]:
    """Where the latency of a plain step in the middle of a recording comes from."""
    return latency.provenance(latency.forward_point(replays.tuning.target_plan, 1, _middle(replays)))


def interval(results: Sequence[Replayed]) -> tuple[float, float]:
    """Where the speedup over all of some recordings would have come to lie with other prompts of the same kind.

    A percentile bootstrap (Efron & Tibshirani 1993, chapter 13) over recordings, of the ratio of their summed times: prompts differ by
    far more than a machine does from itself, so a prediction from a few of them is no sharper than this.
    """
    times = np.array([(result.autoregressive_ms, result.method_ms) for result in results])
    drawn = np.random.default_rng(0).integers(len(times), size=(RESAMPLES, len(times)))
    plain_ms, method_ms = np.moveaxis(times[drawn].sum(axis=1), -1, 0)
    low, high = np.percentile(plain_ms / method_ms, INTERVAL)
    return float(low), float(high)


def intervals(judged: Sequence[Judged]) -> dict[str, tuple[float, float]]:
    """`interval` by decoding mode."""
    of_mode: dict[Mode, list[Replayed]] = {}
    for recording, result in judged:
        of_mode.setdefault(recording.mode, []).append(result)
    # One prompt says nothing of others.
    return {str(mode): interval(results) for mode, results in of_mode.items() if len(results) > 1}


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
