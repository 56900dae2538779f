"""The choice of drafters and parameters by replay."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from casspec.tuner.cascade.forecast import forecast
from casspec.tuner.cascade.selection import LEAST_DRAFTER_GAIN, Limits, choose, decide, forward_selection
from tests.tuner.made_up_drafters import MODES, replays


def test_forward_selection_takes_what_helps_and_no_more() -> None:
    worth = {"a": 0.2, "b": 0.5, "c": 0.01}

    def score(names: Sequence[str]) -> float:
        return 1.0 + sum(worth[name] for name in names)

    assert forward_selection(list(worth), score, score, most=3) == ("b", "a")
    assert forward_selection(list(worth), score, score, most=1) == ("b",)
    assert forward_selection(list(worth), score, score, most=3, fits=lambda names: "b" not in names) == ("a",)
    assert forward_selection(["c"], score, score, most=3) == ()
    assert forward_selection([], score, score, most=3) == ()
    assert forward_selection(list(worth), score, score, most=0) == ()


@pytest.mark.parametrize(("acceptance", "joins"), [(0.98, True), (0.02, False)])
def test_a_drafter_joins_the_cascade_when_replay_is_faster_with_it(recordings, acceptance, joins) -> None:
    replay = replays(recordings, {"int8": lambda recording: acceptance})
    alone, together = replay.score((), {}), replay.score(("int8",), {"max_nodes": 32})
    assert (together > LEAST_DRAFTER_GAIN * alone) is joins
    choice = choose(replay, {}, Limits(seconds=0.0))
    assert choice.drafters == (("int8",) if joins else ())
    found = forecast(replay, choice, {})
    assert found.decision == ("cascade" if joins else "retrieval-only" if alone > LEAST_DRAFTER_GAIN else "off")
    if joins:
        assert together > 2
        assert found.predicted_speedup.keys() == set(MODES)
        assert {mode: list(tasks) for mode, tasks in found.predicted_by_task.items()} == {
            mode: ["task"] for mode in MODES
        }
        assert all(
            low <= found.predicted_speedup[mode] <= high for mode, (low, high) in found.predicted_interval.items()
        )
        assert found.predicted_interval.keys() == set(MODES)
    else:
        assert together > 0.8 * alone  # it is soon known not to be worth its time


def test_limits_of_memory_and_number_hold(recordings) -> None:
    replay = replays(recordings, {"int8": lambda recording: 0.98, "int4": lambda recording: 0.9})
    assert choose(replay, {}, Limits(most_extra_bytes=800, seconds=0.0)).drafters == ("int8",)
    assert choose(replay, {}, Limits(most_extra_bytes=799, seconds=0.0)).drafters == ("int4",)
    assert choose(replay, {}, Limits(most_extra_bytes=399, seconds=0.0)).drafters == ()
    assert choose(replay, {}, Limits(most_extra_bytes=800, seconds=0.0), beside=("int4",)).drafters == ("int4",)
    assert choose(replay, {}, Limits(most_drafters=0, seconds=0.0)).drafters == ()
    assert replay.extra_bytes(("int8", "int8")) == 800  # weights of one precision are shared


def test_the_decision_is_for_what_clearly_pays() -> None:
    assert decide(2.0, 1.5) == "cascade"
    assert decide(1.51, 1.5) == decide(None, 1.5) == decide(1.2, 1.5) == "retrieval-only"
    assert decide(0.9, 1.0) == decide(None, 0.5) == decide(1.01, 1.0) == "off"


def test_parameters_are_tuned_by_replay(recordings) -> None:
    replay = replays(recordings, {"int8": lambda recording: 0.98})
    start = {"max_nodes": 8, "max_review": 4}
    choice = choose(replay, start, Limits(seconds=60.0))
    assert choice.drafters == ("int8",)
    reviewing = {**start, "max_nodes": 32}
    assert choice.parameters != reviewing
    assert replay.score(("int8",), choice.parameters) > 1.01 * replay.score(("int8",), reviewing)
