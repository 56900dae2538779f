"""What steps take beside their forwards, fitted to real decodes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.latency.timing import RanForward
from casspec.runtime.policies.dytc import DyTC
from casspec.tuner.replay import step_probe
from casspec.tuner.replay.overhead import Overhead, fit_overhead, measure_overheads
from casspec.tuner.replay.step_probe import COLD_STEPS, Probe
from tests.tuner.tiny_replay import RECORDINGS, TARGET


def test_the_fit_finds_what_a_step_a_node_and_a_draft_cost() -> None:
    def probe(steps: int, nodes: int, drafts: int) -> Probe:
        return Probe(steps, nodes, drafts, 2.0 * (0.3 * steps + 0.02 * nodes + 0.5 * drafts))

    found = fit_overhead([probe(10, 0, 0), probe(10, 80, 0), probe(10, 30, 20)], slowdown=2.0)
    assert (found.step_ms, found.node_ms, found.draft_ms) == pytest.approx((0.3, 0.02, 0.5))
    floor = fit_overhead([Probe(10, 0, 0, 1.0)], plain=Overhead(step_ms=0.4))
    assert floor.step_ms == pytest.approx(0.4), "no verification costs less than a plain step"


def test_real_decodes_show_what_every_kind_of_method_costs() -> None:
    latency = LatencyPredictor(builtin_latency(TARGET))
    found = measure_overheads(TARGET, RECORDINGS, per_mode=1, n_steps=4, forward_ms=latency.forward_ms)
    for mode in ("sample", "greedy"):
        plain = found.of("autoregressive", mode)
        assert plain.step_ms > 0
        assert found.of("dytc", mode).step_ms >= plain.step_ms
        assert found.of("vertical", mode) == found.of("suffix", mode)
    assert 0.2 < found.plain_slowdown < 5


def test_the_cold_beginning_of_a_decode_is_no_part_of_what_a_step_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, draft, drafted, slept = DyTC.begin, DyTC.draft, [0], [0.0]

    def begun(policy: DyTC, sequence: Any) -> None:
        drafted[0] = 0
        begin(policy, sequence)

    def slow_at_first(policy: DyTC, sequence: Any, max_depth: int) -> CandidateTree:
        drafted[0] += 1
        slept[0] += 0.05 if drafted[0] <= COLD_STEPS else 0.0
        return draft(policy, sequence, max_depth)

    monkeypatch.setattr(DyTC, "begin", begun)
    monkeypatch.setattr(DyTC, "draft", slow_at_first)
    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + slept[0])
    monkeypatch.setattr(step_probe, "time", clock)
    found = measure_overheads(TARGET, RECORDINGS, per_mode=1, n_steps=12)
    dytc, others = found.of("dytc", "greedy"), found.of("suffix", "greedy")
    assert dytc.verify_ms(2) < 6
    assert dytc.start_ms == pytest.approx(COLD_STEPS * 50, rel=0.2)
    assert others.start_ms < 100, "only dytc began slowly"


def test_autoregressive_forwards_are_compared_with_the_targets_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single tokens twice as slow as predicted, trees three times: a plain step is taken for two thirds of its prediction."""
    predicted_ms = LatencyPredictor(builtin_latency(TARGET)).forward_ms
    ended = RanForward.ended

    def slowed(forward: RanForward, _: float) -> None:
        times = 2.0 if forward.n_tokens == 1 else 3.0
        ended(forward, times * predicted_ms(TARGET.full_plan, forward.n_tokens, forward.context_tokens))

    monkeypatch.setattr(RanForward, "ended", slowed)
    found = measure_overheads(TARGET, RECORDINGS, per_mode=1, n_steps=12, forward_ms=predicted_ms)
    assert found.plain_slowdown == pytest.approx(2 / 3)
