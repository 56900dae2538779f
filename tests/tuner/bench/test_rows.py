"""The arithmetic of benchmark rows, on fabricated times."""

from __future__ import annotations

import pytest

from casspec.storage.schema import OVERALL
from casspec.tuner.bench.rows import Run, Series, relative_noise, rows_of_task
from tests.tuner.text_generators import statistics


def run(prompt: str, task: str, decode_ms: float, prefill_ms: float = 0.0, repeat: int = 0, **changes: object) -> Run:
    figures = {"verify_ms": decode_ms / 2} | changes
    steps = figures.pop("steps", 100)
    return Run(prompt, task, repeat, statistics(100, steps, decode_ms, prefill_ms, **figures), repetition=0.1)


AUTOREGRESSIVE = [run("p", "a", 100.0, prefill_ms=10.0), run("q", "b", 300.0, prefill_ms=20.0)]
FASTER = [
    run("p", "a", 50.0, prefill_ms=10.0, steps=40, drafted_tokens=200, accepted_tokens=60, draft_ms=5.0),
    run("q", "b", 100.0, prefill_ms=20.0, steps=60, drafted_tokens=300, accepted_tokens=40, draft_ms=15.0),
]


def row(task: str = OVERALL, runs: list[Run] = FASTER, baseline: list[Run] = AUTOREGRESSIVE):
    (found,) = rows_of_task([Series("fast", "tuned", "greedy", tuple(runs))], baseline, task, "float32")
    return found


def test_speedup_is_the_ratio_of_total_times_not_the_mean_of_ratios() -> None:
    assert row().speedup == pytest.approx(400 / 150)
    assert row().speedup_with_prefill == pytest.approx(430 / 180)
    assert row("a").speedup == pytest.approx(2.0)
    assert row("b").speedup == pytest.approx(3.0)


def test_specbench_speedup_is_the_ratio_of_mean_tokens_per_second_of_whole_calls() -> None:
    fast, slow = (100 / 60 + 100 / 120) / 2, (100 / 110 + 100 / 320) / 2
    assert row().speedup_specbench == pytest.approx(fast / slow)


def test_time_split_and_counts() -> None:
    found = row()
    assert found.tokens_per_second == pytest.approx(200 / 0.150)
    assert found.mean_acceptance_length == pytest.approx(2.0)
    assert found.acceptance_rate == pytest.approx(100 / 500)
    assert found.tree_nodes == pytest.approx(6.0)
    assert (found.draft_ms, found.verify_ms, found.forward_ms) == (20.0, 75.0, 95.0)
    assert found.overhead_ms == pytest.approx(55.0)
    assert found.overhead_percent == pytest.approx(100 * 55 / 150)
    assert found.overhead_us_per_step == pytest.approx(550.0)
    assert (found.n_prompts, found.n_tokens, found.repetition) == (2, 200, pytest.approx(0.1))


def test_a_baseline_measured_twice_counts_by_its_mean() -> None:
    again = [run("p", "a", 120.0), run("q", "b", 320.0)]
    assert row(baseline=[*AUTOREGRESSIVE, *again]).speedup == pytest.approx(420 / 150)
    assert row(runs=[*AUTOREGRESSIVE, *again], baseline=[*AUTOREGRESSIVE, *again]).n_tokens == 200
    assert relative_noise(AUTOREGRESSIVE, again) == pytest.approx(40 / 420)


def test_spread_is_half_the_range_of_the_repeats_over_their_median() -> None:
    baseline = [run("p", "a", 100.0, repeat=repeat) for repeat in range(3)]
    runs = [run("p", "a", time_ms, repeat=repeat) for repeat, time_ms in enumerate((50.0, 100.0, 40.0))]
    found = row(runs=runs, baseline=baseline)
    assert found.spread == pytest.approx((2.5 - 1.0) / 2 / 2.0)
    assert found.speedup == pytest.approx(300 / 190)
    assert (found.n_prompts, found.n_tokens) == (1, 100)
    assert row().spread == 0.0
