"""What steps take: the fit, and points measured inside one engine."""

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
from casspec.storage.errors import EngineError
from casspec.tuner.engines.endpoint import Endpoint
from casspec.tuner.engines.protocol import Abilities
from casspec.tuner.engines.tuning import latency
from casspec.tuner.engines.tuning.latency import DRAFTS, ROUNDS, StepTime, fit, step_time
from casspec.tuner.engines.tuning.session import Session
from casspec.tuner.engines.tuning.starting import STEPS, Instance
from casspec.tuner.engines.tuning.workload import TokenRequest, Workload
from casspec.tuner.engines.vllm import Vllm
from tests.tuner.engines.tuning.made_up import CONCURRENCY, session


def point(batch: int, drafted: int, *values: float) -> EngineLatencyPoint:
    return EngineLatencyPoint(batch=batch, draft_tokens=drafted, values_ms=values)


def test_a_sum_of_terms_is_found_again() -> None:
    points = [point(b, k, 20.0 + 2.0 * b + 1.5 * b * (1 + k) + 3.0 * (k > 0)) for b in (1, 4, 16) for k in DRAFTS]
    latency = fit(points)
    assert latency.largest_error < 0.01
    assert StepTime(latency).ms(8, 3) == pytest.approx(20 + 16 + 48 + 3, rel=0.01)


@given(st.lists(st.floats(1.0, 100.0), min_size=10, max_size=10))
def test_more_work_never_takes_less_time(values: list[float]) -> None:
    places = [(batch, drafted) for batch in (1, 4) for drafted in DRAFTS]
    steps = StepTime(fit([point(*place, value) for place, value in zip(places, values, strict=True)]))
    for batch in (1.0, 2.0, 8.0):
        times = [steps.ms(batch, drafted) for drafted in range(9)]
        assert all(sooner <= later for sooner, later in pairwise(times))
    assert steps.ms(1, 2) <= steps.ms(2, 2) <= steps.ms(9, 2)
    assert steps.ms(4, 2, drafting=0.1) <= steps.ms(4, 2)


def test_a_point_that_the_others_do_not_tell_shows_as_an_error() -> None:
    points = [point(1, drafted, 20.0 + drafted) for drafted in DRAFTS]
    odd = [*points[:-1], point(1, DRAFTS[-1], 200.0)]
    assert fit(points).largest_error < 0.05 < fit(odd).largest_error
    assert fit(points[:1]).median_error == 0.0


def test_points_are_measured_in_one_engine_and_never_twice(
    fake_vllm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", json.dumps({"step_ms": 2, "request_ms": 0, "token_ms": 1.0}))
    lines: list[str] = []
    with session(tmp_path, lines=lines) as made:
        steps = step_time(made)
        assert steps is not None
        assert [(each.batch, each.draft_tokens) for each in steps.latency.points] == [
            (batch, drafted) for batch in CONCURRENCY for drafted in DRAFTS
        ]
        assert {len(each.values_ms) for each in steps.latency.points} == {ROUNDS}
        assert steps.ms(1, 8) > steps.ms(1, 0) + 4
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
        assert step_time(made) is not None


def test_a_context_that_is_too_short_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def none(session: Session, instance: Instance, requests: object, tokens: int) -> tuple[float, float]:
        asked.append(tokens)
        return 1.0, 0.0

    monkeypatch.setattr(latency, "_steps", none)
    instance = Instance(Vllm(), Endpoint("http://127.0.0.1:1"), "m", 0.0)
    with session(tmp_path) as made:
        for context, tried, words in (
            (None, [64, 128, 256], "its metrics lag behind"),
            (105, [64, 100], "a context of 105 tokens is too short"),
            (20, [], "give a --max-model-len of 21 or more"),
        ):
            asked.clear()
            made.workload = replace(made.workload, max_context=context)
            with pytest.raises(EngineError, match=words):
                latency._point(made, instance, 2)
            assert asked == tried


def test_prompts_that_leave_room_are_chosen_before_others() -> None:
    short, long = TokenRequest("short", "t", (1,) * 5), TokenRequest("long", "t", (1,) * 80)
    asked = latency._asked_at_a_point(Workload((long, short), 20, max_context=300), 2)
    assert asked == [short, short]
    assert latency._asked_at_a_point(Workload((long, short), 20, max_context=200), 2) == [long, short]


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
