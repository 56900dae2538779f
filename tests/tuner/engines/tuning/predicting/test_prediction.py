"""Steps and acceptance become tokens per second."""

from __future__ import annotations

import pytest

from casspec.storage.engines.documents import EngineLatencyPoint
from casspec.tuner.engines.tuning.latency import StepTime, assessed
from casspec.tuner.engines.tuning.predicting.acceptance import Replayed
from casspec.tuner.engines.tuning.predicting.prediction import PlainSpeed, predicted_seconds, predicted_speed
from tests.tuner.engines.tuning.made_up import plain_figures


def steps(extra_prompt_ms: float = 0.0, step: float = 10.0, token: float = 5.0, drafting: float = 8.0) -> StepTime:
    """So many milliseconds, and so many a token of all requests; more where one drafts."""
    points = [
        EngineLatencyPoint(batch=b, draft_tokens=k, values_ms=(step + token * b * (1 + k) + drafting * (k > 0),))
        for b in (1, 2)
        for k in (0, 1, 2, 4, 8)
    ]
    return StepTime(assessed(points, {"2": extra_prompt_ms}))


PLAIN_SPEED = PlainSpeed(concurrency=2, tokens=210, requests=10, seconds=6.0, step_ms=50.0)


def test_what_is_no_step_stays() -> None:
    assert PLAIN_SPEED.steps == 100.0
    assert PLAIN_SPEED.other_s == 1.0
    halved = Replayed(verifications=100, drafted=100, draft_tokens=200, accepted_tokens=100)
    assert predicted_seconds(PLAIN_SPEED, halved, None) == pytest.approx(1.0 + 50 * 0.05)
    assert predicted_speed(PLAIN_SPEED, halved, None) == pytest.approx(210 / 3.5)


def test_drafts_make_steps_dearer() -> None:
    halved = Replayed(verifications=100, drafted=50, draft_tokens=300, accepted_tokens=100)
    cost = steps()
    # two requests of 1 + 3 tokens; three of four steps have a draft
    expected_ms = 10.0 + 5.0 * 2 * 4.0 + 8.0 * 0.75
    assert predicted_seconds(PLAIN_SPEED, halved, cost) == pytest.approx(1.0 + 50 * expected_ms / 1e3)


def test_prompts_that_take_longer_are_counted() -> None:
    none = Replayed(verifications=200, drafted=0, draft_tokens=0, accepted_tokens=0)
    more = predicted_seconds(PLAIN_SPEED, none, steps(40.0)) - predicted_seconds(PLAIN_SPEED, none, steps())
    assert more == pytest.approx(10 * 0.04)


def test_without_speculation_nothing_is_gained() -> None:
    none = Replayed(verifications=200, drafted=0, draft_tokens=0, accepted_tokens=0)
    assert predicted_seconds(PLAIN_SPEED, none, None) == pytest.approx(6.0)


def test_texts_that_were_written_several_times_are_predicted_as_often() -> None:
    twice = PlainSpeed(concurrency=2, tokens=420, requests=20, seconds=12.0, step_ms=50.0)
    halved = Replayed(verifications=100, drafted=100, draft_tokens=200, accepted_tokens=100)
    assert predicted_seconds(twice, halved, None) == pytest.approx(2 * predicted_seconds(PLAIN_SPEED, halved, None))
    assert predicted_speed(twice, halved, None) == pytest.approx(predicted_speed(PLAIN_SPEED, halved, None))


def test_a_measurement_gives_the_time_that_is_no_step() -> None:
    found = PlainSpeed.of(plain_figures(2, speed=40.0), 50.0)
    assert (found.step_ms, found.other_s) == (50.0, pytest.approx(3 / 40))
    assert PlainSpeed.of(plain_figures(2, speed=40.0), 1e6).other_s == 0.0
