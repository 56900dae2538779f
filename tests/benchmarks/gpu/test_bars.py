"""Which figures are held against what."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.bars import held


def row(method: str, forwards: str, **figures: Any) -> dict[str, Any]:
    return {"mode": "sample", "method": method, "forwards": forwards, **figures}


def test_figures_by_graphs_are_held_against_the_bars() -> None:
    rows = [
        row("autoregressive", "eager", of_bound=0.4),
        row("autoregressive", "graphs", of_bound=0.9),
        row("dytc", "graphs", over_plain=1.9, overhead=0.1),
    ]
    found = [(bar["measured"], bar["limit"], bar["holds"]) for bar in held({"decoding": rows})]
    assert found == [(0.9, "at least 0.85", "yes"), (1.9, "at least 2", "no"), (0.1, "at most 0.1", "yes")]


def test_without_graphs_eager_figures_are_and_say_so() -> None:
    (bar,) = held({"decoding": [row("autoregressive", "eager", of_bound=0.4)], "library": [row("x", "library")]})
    assert (bar["forwards"], bar["holds"]) == ("eager", "no")


def test_a_profile_counts_too() -> None:
    rows = [row("dytc, calibrated", "graphs", over_plain=2.5, overhead=0.2)]
    found = [(bar["stage"], bar["measured"], bar["holds"]) for bar in held({"calibrated": rows})]
    assert found == [("calibrated", 2.5, "yes"), ("calibrated", 0.2, "no")]


def test_nothing_measured_is_nothing_held() -> None:
    assert held({}) == []
