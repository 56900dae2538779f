"""Probes run what a point says, as often as asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casspec.profiler.probes import Probes, plan_of
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import LatencyPoint
from tests.runtime.model.graphs.recording import RecordingGraphs
from tests.runtime.tiny import library_model


def test_probes_run_what_the_point_says(target: TargetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, tuple[int, ...], int, int, int]] = []

    def spy(name: str, original: Any) -> Any:
        def run_and_note(inputs: Any, cache: Any, plan: Any) -> Any:
            result = original(inputs, cache, plan)
            assert torch.isfinite(result).all()
            seen.append((name, tuple(inputs.token_ids.shape), inputs.length, plan.n_attention, plan.n_mlp))
            return result

        return run_and_note

    points = [
        LatencyPoint(subject="attention", n_attention=3, n_mlp=0, n_tokens=5, context_tokens=0),
        LatencyPoint(subject="drafter", n_attention=1, n_mlp=2, n_tokens=2, context_tokens=63, batch=2),
    ]
    probes = Probes(target, points)
    for name in ("hidden", "forward"):
        monkeypatch.setattr(target, name, spy(name, getattr(TargetModel, name).__get__(target)))
    for point in points:
        probes.call(point)()
    assert seen[0] == ("hidden", (1, 6), 64, 3, 0)
    assert seen[-1] == ("forward", (2, 2), 128, 1, 2)


@given(st.integers(1, 40), st.data())
def test_a_plan_runs_as_many_sub_layers_as_the_point_says(n_layers: int, data: st.DataObject) -> None:
    counts = st.integers(0, n_layers)
    point = LatencyPoint(
        subject="forward", n_attention=data.draw(counts), n_mlp=data.draw(counts), n_tokens=1, context_tokens=0
    )
    plan = plan_of(point, n_layers)
    assert (plan.n_attention, plan.n_mlp) == (point.n_attention, point.n_mlp)


def test_a_probe_may_run_again_and_says_the_same(target: TargetModel) -> None:
    point = LatencyPoint(subject="forward", n_attention=3, n_mlp=3, n_tokens=5, context_tokens=40)
    call = Probes(target, [point]).call(point)
    assert torch.equal(call(), call())


def test_a_forward_that_is_captured_was_captured_before_it_is_timed() -> None:
    target, runner = TargetModel(library_model()), RecordingGraphs()
    target.lean.capture_with(lambda: runner)
    point = LatencyPoint(subject="forward", n_attention=3, n_mlp=3, n_tokens=5, context_tokens=40, batch=2)
    call = Probes(target, [point]).call(point)
    captured, replayed = len(runner.graphs), runner.n_replays
    call()
    assert (captured, len(runner.graphs), runner.n_replays - replayed) == (1, 1, 1)
