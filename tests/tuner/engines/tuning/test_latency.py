"""What steps take: between points, and points measured inside one engine."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.storage.engines.documents import EngineLatencyPoint
from casspec.tuner.engines.protocol import Abilities
from casspec.tuner.engines.tuning.latency import DRAFTS, ROUNDS, StepTime, assessed, step_time
from casspec.tuner.engines.tuning.starting import STEPS
from casspec.tuner.engines.tuning.written import plain_texts
from tests.tuner.engines.tuning.made_up import CONCURRENCY, session


def point(batch: int, drafted: int, *values: float) -> EngineLatencyPoint:
    return EngineLatencyPoint(batch=batch, draft_tokens=drafted, values_ms=values)


def test_measured_points_are_met_and_joined_by_lines() -> None:
    points = [point(batch, drafted, 20.0 + 3.0 * batch * drafted, 900.0) for batch in (1, 4) for drafted in DRAFTS]
    steps = StepTime(assessed(points, {"4": 7.0}))
    assert steps.ms(4, 2, drafting=1.0) == pytest.approx(44.0)
    assert steps.ms(4, 3, drafting=1.0) == pytest.approx(56.0)
    assert steps.ms(1, 10, drafting=1.0) == pytest.approx(50.0), "past the last point as before it"
    assert steps.ms(4, 0, drafting=0.0) == 20.0
    assert steps.latency.largest_error < 1e-9
    assert (steps.extra_prompt_ms(1), steps.extra_prompt_ms(4)) == (0.0, 7.0)


def test_steps_without_a_draft_cost_what_they_cost_without() -> None:
    times = {0: 20.0, 1: 50.0, 2: 60.0, 4: 70.0, 8: 80.0}
    steps = StepTime(assessed([point(batch, *each) for batch in (1, 2) for each in times.items()], {}))
    assert steps.ms(1, 1.0, drafting=0.25) == pytest.approx(0.75 * 20 + 0.25 * 70)
    # of two requests one at least drafts in three steps of four, and then there are 4 / 3 as many drafts
    assert steps.ms(2, 1.5, drafting=0.5) == pytest.approx(0.25 * 20 + 0.75 * 60)


@given(st.lists(st.floats(1.0, 100.0), min_size=10, max_size=10))
def test_more_drafts_never_take_less_time(values: list[float]) -> None:
    places = [(batch, drafted) for batch in (1, 4) for drafted in DRAFTS]
    steps = StepTime(assessed([point(*place, value) for place, value in zip(places, values, strict=True)], {}))
    for batch in (1, 4):
        times = [steps.ms(batch, drafted, 1.0) for drafted in range(12)]
        assert all(sooner <= later + 1e-9 for sooner, later in pairwise(times))


def test_a_point_that_its_neighbours_do_not_tell_shows_as_an_error() -> None:
    points = [point(1, drafted, 20.0 + drafted) for drafted in DRAFTS]
    odd = [*points[:2], point(1, 2, 200.0), *points[3:]]
    assert assessed(points, {}).largest_error < 0.05 < assessed(odd, {}).largest_error
    assert assessed(points[:1], {}).median_error == 0.0


def test_points_are_measured_in_one_engine_and_never_twice(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"step_ms": 2, "request_ms": 0, "token_ms": 1.0}))
    lines: list[str] = []
    with session(tmp_path, lines=lines) as made:
        plain_texts(made)
        lines.clear()
        steps = step_time(made)
        assert steps is not None
        assert [(each.batch, each.draft_tokens) for each in steps.latency.points] == [
            (batch, drafted) for batch in CONCURRENCY for drafted in DRAFTS
        ]
        assert {len(each.values_ms) for each in steps.latency.points} == {ROUNDS}
        assert steps.ms(1, 8, 1.0) > steps.ms(1, 0, 0.0) + 4
        assert len([line for line in lines if line.startswith("starting")]) == 1
        told = json.loads((made.folder / STEPS).read_text())["latency"]
        assert len(told) == len(steps.latency.points)
        lines.clear()
        again = step_time(made)
        assert again is not None
        assert (again.latency, lines) == (steps.latency, [])


def test_a_short_context_bounds_what_is_asked_for(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"step_ms": 6, "context": 65}))
    with session(tmp_path) as made:
        made.workload = replace(made.workload, max_context=65)
        plain_texts(made)
        assert step_time(made) is not None


def test_an_engine_without_a_probe_has_no_steps(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", '{"refuses": ["custom_class"]}')
    with session(tmp_path) as made:
        assert step_time(made) is None
        (first, *_) = made.store.trials(made.subject_hash)
        assert first.status == "failed"
        assert first.reason is not None
        assert "ValueError: no custom_class here" in first.reason
        assert step_time(made) is None, "it is not tried again"
        made.abilities = Abilities("0.20", False, frozenset({"ngram"}))
        assert step_time(made) is None
    assert os.environ["FAKE_VLLM"]
