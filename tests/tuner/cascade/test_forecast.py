"""Predictions: whether to draft at all, how sure that is, and of batches."""

from __future__ import annotations

import numpy as np
import pytest

from casspec.runtime.latency.predictor import builtin_latency
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import LatencyModel, Precision
from casspec.tuner.cascade.forecast import by_batch, forecast, interval, intervals
from casspec.tuner.cascade.selection import Choice, Limits, choose
from casspec.tuner.replay.simulate import Replayed
from tests.tuner.made_up_drafters import MODES, by_task, replays
from tests.tuner.tiny import tiny_target


def flat_latency() -> LatencyModel:
    """Of `forward_ms`, at every batch: a forward takes as long as its sub-layers take to launch."""
    target = tiny_target()
    model = builtin_latency(target)
    per_ms = 1.0 / (target.n_layers * model.shape["launch_ms"])
    of_launches = {"attention_launches": 10.0 * per_ms, "int8-dynamic:attention_launches": 1.0 * per_ms}
    return model.model_copy(update={"features": tuple(of_launches), "coefficients": tuple(of_launches.values())})


def test_the_interval_of_a_prediction_holds_what_more_prompts_would_have_given(recordings) -> None:
    """Nine times out of ten; of sixteen prompts a bootstrap is a little too sure."""
    rng = np.random.default_rng(1)

    def results(count: int) -> list[Replayed]:
        return [Replayed(autoregressive_ms=100.0, method_ms=time) for time in rng.lognormal(4.0, 0.35, count)]

    truth = 100.0 / np.exp(4.0 + 0.35**2 / 2)
    held = [low <= truth <= high for low, high in (interval(results(16)) for _ in range(300))]
    assert 0.78 < np.mean(held) < 0.95
    one = [Replayed(autoregressive_ms=30.0, method_ms=15.0)]
    assert intervals([(recordings[0], *one)]) == {}, "one prompt says nothing of others"
    low, high = interval(one * 5)
    assert low == high == 2.0


def test_nothing_is_drafted_where_verification_costs_by_the_token(recordings) -> None:
    def by_the_token(plan: Plan, n_tokens: int, context_tokens: int) -> float:
        return 10.0 * n_tokens * (1.0 if plan.precision is Precision.TARGET else 0.9)

    replay = replays(recordings, {"int8": lambda recording: 0.5}, by_the_token)
    found = forecast(replay, choose(replay, {}, Limits(seconds=0.0)), {})
    assert (found.decision, found.drafters) == ("off", ())
    assert set(found.predicted_speedup.values()) == {1.0}


def test_a_batch_is_predicted_for_all_recordings_though_few_are_replayed(recordings) -> None:
    """The drafter is right in the first recordings of each mode, which batches are replayed on, and wrong in as many others."""
    easy = by_task(recordings, ("easy",), copies=3)  # six of each mode, of which five are replayed
    several = [*easy, *by_task(recordings, ("hard",), copies=3)]
    replay = replays(several, {"int8": lambda recording: 0.97 if recording.task == "easy" else 0.3})
    choice = Choice(("int8",), {"max_nodes": 32})
    single = forecast(replay, choice, {})
    on_easy = forecast(replay, choice, {}, easy)
    assert min(on_easy.predicted_speedup[mode] / single.predicted_speedup[mode] for mode in MODES) > 1.2
    one, *more = by_batch(replay, single, choice, {}, flat_latency())
    assert one.speedup == single.predicted_speedup
    assert {batch.decision for batch in more} == {"cascade"}
    for batch in more:
        assert batch.speedup == pytest.approx(single.predicted_speedup, rel=0.02), (
            "no batch costs more than one sequence"
        )
