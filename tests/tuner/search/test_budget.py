"""What a search may take follows the model and its device; what a user asks for stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.tuner.recordings.teacher_forcing import LONGEST_CHUNK
from casspec.tuner.search.budget import (
    LEAST_SHARE,
    MOST_SHARE,
    RACED,
    TRIAL_OVERHEAD,
    ForwardSeconds,
    SearchPlan,
    plan_search,
    rest_seconds,
)
from casspec.tuner.search.space import switches
from casspec.tuner.settings import QUICK, CalibrationSettings
from tests.tuner.tiny import tiny_target

USUAL = CalibrationSettings(suite="reference", suite_sha256="f" * 64)

SMALL = ForwardSeconds(step=0.009, recorded=0.002, recording=0.055, prompt=0.055)
"""Twelve layers on two cores."""
MIDDLE = ForwardSeconds(step=0.02, recorded=0.005, recording=0.27, prompt=0.27)
"""Thirty layers on two cores."""
LARGE = ForwardSeconds(step=0.5, recorded=0.1, recording=5.0, prompt=5.0)
"""Thirty-two layers on two cores."""
FAST = ForwardSeconds(step=0.002, recorded=0.0002, recording=0.004, prompt=0.004)


def plan(n_layers: int, forward: ForwardSeconds, settings: CalibrationSettings = USUAL) -> SearchPlan:
    return plan_search(settings, n_layers, 1, settings.search.recordings, forward)


@pytest.mark.parametrize(
    ("n_layers", "forward"), [(12, SMALL), (30, MIDDLE), (32, LARGE), (80, LARGE), (80, FAST), (3, FAST)]
)
@pytest.mark.parametrize("changes", [{}, QUICK])
def test_every_sub_layer_is_left_out_alone_and_on_all_recordings_that_time_allows(n_layers, forward, changes) -> None:
    settings = USUAL.changed(changes)
    found = plan(n_layers, forward, settings)
    assert found.finishes_starting_plans
    assert found.n_singles == len(switches(n_layers))
    assert 1 <= found.sensitivity_recordings <= found.recordings == settings.search.recordings
    one_more = found.n_singles * (found.sensitivity_recordings + 1) * forward.recording
    assert found.sensitivity_recordings == found.recordings or one_more > found.seconds / 2 / TRIAL_OVERHEAD


def test_a_small_model_takes_what_all_evaluations_take() -> None:
    found = plan(12, SMALL)
    assert found.sensitivity_recordings == found.recordings
    scored = found.n_singles + (found.trials - found.n_singles) * RACED
    assert found.seconds == pytest.approx(scored * 8 * SMALL.recording * TRIAL_OVERHEAD, abs=0.1)
    assert found.share is not None
    assert found.share < MOST_SHARE


@pytest.mark.parametrize(("changes", "most"), [({}, 480.0), (QUICK, 90.0)])
def test_a_calibration_stays_within_its_time_where_the_search_decides_that(changes, most) -> None:
    settings = USUAL.changed(changes)
    forward = replace(MIDDLE, recording=MIDDLE.recording * settings.record.tokens / USUAL.record.tokens)
    found = plan(30, forward, settings)
    assert rest_seconds(settings, forward) + found.seconds <= most
    assert found.share is not None
    assert LEAST_SHARE <= found.share <= MOST_SHARE


def test_what_the_profile_took_counts_where_its_time_was_not_enough() -> None:
    settings, few, many = USUAL, 1.0, 100.0
    assert rest_seconds(settings, MIDDLE, few) == rest_seconds(settings, MIDDLE)
    assert rest_seconds(settings, MIDDLE, many) > rest_seconds(settings, MIDDLE) + 100
    found = plan_search(settings, 30, 1, settings.search.recordings, MIDDLE, many)
    assert found.share is not None
    assert LEAST_SHARE <= found.share < MOST_SHARE
    assert rest_seconds(settings, MIDDLE, many) + found.seconds <= settings.search.calibration_seconds


def test_a_model_too_large_for_that_has_a_least_share_and_each_sensitivity_fewer_recordings() -> None:
    found = plan(32, LARGE)
    assert rest_seconds(USUAL, LARGE) > USUAL.search.calibration_seconds
    assert found.share is not None
    assert found.share >= LEAST_SHARE
    assert found.sensitivity_recordings < found.recordings
    assert f"{found.n_singles} sensitivities on {found.sensitivity_recordings} of 8 recordings each" in found.told()
    assert f"; {found.share:.0%} of the calibration" in found.told()


def test_time_and_trials_of_a_user_stay_what_they_are() -> None:
    seconds = plan(30, MIDDLE, USUAL.changed({"search": {"seconds": 12.5}}))
    assert (seconds.seconds, seconds.share, seconds.finishes_starting_plans) == (12.5, None, False)
    assert seconds.sensitivity_recordings == 1, "so that as many as possible are there"
    assert seconds.told().startswith("search: at most 12.5 s, up to ")
    trials = plan(30, MIDDLE, USUAL.changed({"search": {"trials": 40}}))
    assert trials.trials == 40
    assert 0 < trials.n_singles <= 20
    assert trials.seconds < plan(30, MIDDLE).seconds
    both = plan(30, MIDDLE, USUAL.changed({"search": {"trials": 300, "seconds": 600.0}}))
    assert (both.trials, both.seconds, both.sensitivity_recordings) == (300, 600.0, 8)


def test_a_model_without_inner_layers_is_tried_at_its_precisions() -> None:
    found = plan(2, SMALL)
    assert (found.trials, found.n_singles) == (1, 0)
    assert "sensitivities on" not in found.told()


def test_a_recording_longer_than_any_forward_takes_several() -> None:
    target = tiny_target()
    latency = LatencyPredictor(builtin_latency(target))
    one, two, more = (
        ForwardSeconds.of(latency, target.n_layers, n_tokens, 64)
        for n_tokens in (LONGEST_CHUNK, 2 * LONGEST_CHUNK, 2 * LONGEST_CHUNK + 1)
    )
    assert one.step == two.step > 0
    assert two.recording == pytest.approx(2 * one.recording)
    assert more.recording == pytest.approx(two.recording + one.step)
