"""Settings against none, by restarts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from casspec.storage.engines.documents import PLAIN, EngineMeasurement
from casspec.tuner.engines.figures import ratio_by_round
from casspec.tuner.engines.process import EngineFailed
from casspec.tuner.engines.tuning.budget import Budget
from casspec.tuner.engines.tuning.confirm import Confirmed
from casspec.tuner.engines.tuning.finalists import Finalist
from casspec.tuner.engines.tuning.session import CONFIRM_KIND, Session
from casspec.tuner.engines.tuning.workload import GROUPS
from tests.tuner.engines.tuning.made_up import CONCURRENCY, ngram, plain_figures, session

FIGURES = {each: plain_figures(each) for each in CONCURRENCY}
GOOD, SLOW = Finalist(ngram(), {}), Finalist(ngram(1, 2, 1), {})


def keep(made: Session, finalist: Finalist, number: int, speeds: dict[int, float], **counted: int) -> None:
    """As if it had been measured, and `counted` by the engine."""
    setting = finalist.setting
    for concurrency, speed in speeds.items():
        for place in range(GROUPS):
            figures = plain_figures(concurrency, speed).model_copy(update={"setting": setting, **counted})
            key = f"{setting.content_hash()[:24]}/{number}/{concurrency}/{place}"
            made.store.save(made.subject_hash, CONFIRM_KIND, key, figures)


def stored(made: Session) -> dict[str, EngineMeasurement]:
    return made.store.saved(made.subject_hash, CONFIRM_KIND, EngineMeasurement)


def test_rounds_alternate_and_what_is_plainly_slower_is_left_out(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"step_ms": 0.5, "request_ms": 0.1}))
    lines: list[str] = []
    with session(tmp_path, lines=lines) as made:
        confirmed = Confirmed(made, FIGURES)
        keep(made, Finalist(PLAIN, {}), 0, {1: 40.0, 2: 40.0})
        keep(made, GOOD, 0, {1: 80.0, 2: 60.0})
        keep(made, SLOW, 0, {1: 30.0, 2: 30.0})
        confirmed.run([GOOD, SLOW])
        starts = [line.partition(": ")[2] for line in lines if line.startswith("starting")]
        assert starts == [
            f"round 2, {GOOD.setting.name}",
            "round 2, off",
            "round 3, off",
            f"round 3, {GOOD.setting.name}",
        ]
        gain = confirmed.gain(GOOD.setting, 1)
        assert gain is not None
        assert gain.n == 3 * GROUPS
        lines.clear()
        before = stored(made)
        confirmed.run([GOOD, SLOW])
        assert (lines, stored(made)) == ([], before)


def test_no_start_is_spent_on_what_a_setting_of_its_method_has_disproved(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"step_ms": 0.5, "request_ms": 0.1}))
    lines: list[str] = []
    first, second = Finalist(ngram(), {1: 1.1, 2: 1.2}), Finalist(ngram(1, 2, 1), {1: 1.1, 2: 1.1})
    promising = Finalist(ngram(1, 3, 2), {1: 1.1, 2: 1.7})
    with session(tmp_path, lines=lines) as made:
        confirmed = Confirmed(made, FIGURES)
        assert not confirmed.is_disproved(second, [first, second, promising]), "nothing was measured"
        keep(made, Finalist(PLAIN, {}), 0, {1: 40.0, 2: 40.0})
        keep(made, first, 0, {1: 30.0, 2: 30.0})
        assert [confirmed.is_disproved(each, [first, second]) for each in (first, second)] == [False, True]
        confirmed.run([first, second, promising])
        starts = [line.partition(": ")[2] for line in lines if line.startswith("starting")]
        assert f"round 1, {promising.setting.name}" in starts
        assert not any(second.setting.name in each for each in starts)


def test_a_gain_is_of_the_same_round_and_group(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        assert confirmed.gain(GOOD.setting, 1) is None
        keep(made, Finalist(PLAIN, {}), 0, {1: 40.0})
        keep(made, GOOD, 0, {1: 60.0})
        keep(made, GOOD, 1, {1: 900.0})
        gain = confirmed.gain(GOOD.setting, 1)
        assert gain is not None
        assert (gain.middle, gain.n) == (pytest.approx(1.5), GROUPS)
        assert len(confirmed.of(GOOD.setting, 1)) == 2 * GROUPS


def test_without_time_nothing_is_started(tmp_path: Path) -> None:
    lines: list[str] = []
    with session(tmp_path, lines=lines) as made:
        made.budget = Budget(1.0, start_s=60.0)
        Confirmed(made, FIGURES).run([GOOD])
    assert lines == []


def test_a_budget_that_ends_in_a_round_keeps_what_was_measured_and_the_next_goes_on(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"step_ms": 0.5, "request_ms": 0.1}))
    now = [0.0]
    with session(tmp_path) as made:
        drive = made.drive

        def half_a_minute(*words: Any, **named: Any) -> Any:
            done = drive(*words, **named)
            now[0] += 30.0
            return done

        monkeypatch.setattr(made, "drive", half_a_minute)
        made.budget = Budget(100.0, start_s=1.0, clock=lambda: now[0])
        assert not Confirmed(made, FIGURES).measure(GOOD.setting, 0)
        before = stored(made)
        assert len(before) == 3, "the fourth of six groups would have begun after the end"
        assert not made.has_failed(GOOD.setting)
        made.budget = Budget(600.0, start_s=1.0, clock=lambda: now[0])
        assert Confirmed(made, FIGURES).measure(GOOD.setting, 0)
        assert len(stored(made)) == GROUPS * len(CONCURRENCY)
        assert before.items() <= stored(made).items()


def test_a_gain_treats_what_one_start_answered_as_one(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        for number, speed in enumerate((60.0, 66.0, 72.0)):
            keep(made, Finalist(PLAIN, {}), number, {1: 40.0})
            keep(made, GOOD, number, {1: speed})
            assert confirmed.rounds(GOOD.setting, 1) == number + 1
        rounds = [[(speed, 40.0)] * GROUPS for speed in (60.0, 66.0, 72.0)]
        assert confirmed.gain(GOOD.setting, 1) == ratio_by_round(rounds)


def test_a_setting_that_the_engine_refuses_is_a_failed_trial_and_the_others_go_on(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"refuses": ["suffix"], "step_ms": 0.5}))
    refused = Finalist(GOOD.setting.model_copy(update={"method": "suffix"}), {})
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        assert confirmed.measure(refused.setting, 0)
        assert confirmed.measure(GOOD.setting, 0)
        assert made.has_failed(refused.setting)
        assert confirmed.of(refused.setting, 1) == []
        assert len(confirmed.of(GOOD.setting, 1)) == GROUPS


def test_an_engine_that_fails_without_speculation_ends_the_search(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", '{"refuses": ["off"]}')
    with session(tmp_path) as made, pytest.raises(EngineFailed, match="no model here"):
        Confirmed(made, FIGURES).measure(PLAIN, 0)


def test_a_setting_is_slower_where_its_pairs_say_so_anywhere(tmp_path: Path) -> None:
    with session(tmp_path) as made:
        confirmed = Confirmed(made, FIGURES)
        assert not confirmed.is_slower(GOOD.setting), "it was not measured"
        keep(made, Finalist(PLAIN, {}), 0, {1: 40.0, 2: 40.0})
        keep(made, GOOD, 0, {1: 80.0, 2: 41.0})
        keep(made, SLOW, 0, {1: 80.0, 2: 39.0})
        assert not confirmed.is_slower(GOOD.setting)
        assert confirmed.is_slower(SLOW.setting)
