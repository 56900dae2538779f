"""Retrieval methods tuned by replay."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.policies.base import Policy
from casspec.runtime.policies.token_recycling import TokenRecyclingPolicy
from casspec.storage.schema import Mode
from casspec.tuner.methods.by_replay import (
    MOST_SETTINGS,
    NO_OVERHEADS,
    REPLAYED,
    TunedMethods,
    Tuning,
    _build,
    by_mode,
    first_of_each_mode,
    geometric_speedup,
    replayable_settings,
    replayed_each,
    speedups_of_others,
    tune_methods,
)
from casspec.tuner.methods.grids import GRIDS, published_setting
from casspec.tuner.recordings.recording import recycling_matrix
from casspec.tuner.replay.simulate import Replayed
from tests.tuner.tiny import VOCAB, tiny_latency
from tests.tuner.tiny_replay import RECORDINGS, TARGET, forward_ms


@pytest.mark.parametrize("method", REPLAYED)
def test_replay_tries_each_setting_of_the_axes_it_can_judge_once(method: str) -> None:
    settings = replayable_settings(method)
    published = published_setting(method)
    assert settings[0] == {axis: published[axis] for axis in REPLAYED[method]}
    assert all(set(setting) == set(REPLAYED[method]) for setting in settings)
    assert len({tuple(setting.items()) for setting in settings}) == len(settings)
    for axis in REPLAYED[method]:
        assert {setting[axis] for setting in settings} >= set(GRIDS[method][axis])


def test_what_was_tuned_is_at_least_as_fast_as_what_was_published() -> None:
    latency = tiny_latency(TARGET)
    tried: list[tuple[int, int]] = []
    tuned = tune_methods(TARGET, RECORDINGS, latency, progress=lambda done, total, note: tried.append((done, total)))
    assert [(entry.method, entry.variant) for entry in tuned.methods] == [(method, "tuned") for method in REPLAYED]
    assert tried == [(place, len(tried)) for place in range(len(tried))]
    assert {prior.mode for prior in tuned.priors} == {"greedy", "sample"}
    tuning = Tuning.of(TARGET, RECORDINGS, latency, tuned.priors, NO_OVERHEADS)
    for method in REPLAYED:
        published, *_ = settings = replayable_settings(method)[:MOST_SETTINGS]
        assert tuned.settings(method) in settings

        def speedup(parameters: dict[str, Any], method: str = method) -> float:
            return geometric_speedup(by_mode(replayed_each(method, _build(method, parameters, tuning), tuning)))

        assert speedup(tuned.settings(method)) >= speedup(published)
    others = speedups_of_others(tuned, tuning)
    assert {mode: set(found) for mode, found in others.items()} == {
        mode: set(REPLAYED) - {"dytc"} for mode in ("greedy", "sample")
    }
    lookup = replayed_each("prompt-lookup", _build("prompt-lookup", tuned.settings("prompt-lookup"), tuning), tuning)
    assert others["sample"]["prompt-lookup"] == by_mode(lookup)["sample"].speedup
    assert tuned.settings("vertical") == {}
    assert TunedMethods.from_json(tuned.to_json()) == tuned


def test_a_text_is_replayed_with_the_matrix_of_the_half_its_prompt_is_not_in() -> None:
    tuning = Tuning(RECORDINGS, VOCAB, TARGET.full_plan, forward_ms, {})
    halves = [[one for one in RECORDINGS if tuning.half_of[one.prompt_id] == half] for half in (0, 1)]
    used: list[bytes] = []

    def build(matrix: RecyclingMatrix, mode: Mode) -> Policy:
        used.append(matrix.to_bytes())
        return TokenRecyclingPolicy(matrix)

    for half in (0, 1):
        used.clear()
        replayed_each("token-recycling", build, tuning, halves[half])
        assert set(used) == {recycling_matrix(halves[1 - half], VOCAB).to_bytes()}


def test_all_turns_of_a_conversation_are_in_one_half() -> None:
    names = ("a", "a#1", "b", "b#1", "a#2", "c")
    turns = [replace(RECORDINGS[0], prompt_id=name) for name in names]
    tuning = Tuning(turns, VOCAB, TARGET.full_plan, forward_ms, {})
    assert [tuning.half_of[name] for name in names] == [0, 0, 1, 1, 0, 0]


def test_the_first_recordings_of_each_mode_are_taken_in_their_order() -> None:
    assert first_of_each_mode(RECORDINGS, 1) == RECORDINGS[:2]
    assert first_of_each_mode(RECORDINGS, 9) == RECORDINGS
    assert first_of_each_mode(reversed(RECORDINGS), 1) == RECORDINGS[:1:-1]
    assert first_of_each_mode(RECORDINGS, 0) == []


def test_neither_mode_rules_the_speedup_of_both() -> None:
    twice, half = (Replayed(autoregressive_ms=100.0, method_ms=time) for time in (50.0, 200.0))
    assert geometric_speedup({"greedy": twice, "sample": half}) == pytest.approx(1.0)
    assert geometric_speedup({"greedy": twice}) == pytest.approx(2.0)
    doubled = by_mode([(RECORDINGS[0], twice), (RECORDINGS[2], twice)])
    assert doubled["greedy"].autoregressive_ms == 200.0
