"""Predicted speedups beside measured ones."""

from __future__ import annotations

import pytest

from casspec.storage.schema import BenchReport
from casspec.tuner.bench.predicted_vs_measured import Compared, compare
from tests.storage import samples
from tests.tuner.report_page.pages import profile, report


def test_the_gap_is_between_what_is_known_of_both() -> None:
    told = profile(predicted_speedup={"greedy": 2.0, "sample": 1.5}, predicted_by_task={"greedy": {"rag": 3.0}})
    without = samples.bench_report(rows=(samples.bench_row("autoregressive"),))
    compared = compare(told, [without, report()])
    assert compared == [
        Compared("sample", "overall", 1.5, None),
        Compared("greedy", "overall", 2.0, 1.6, 1.0, 4, noise=0.01),
        Compared("greedy", "qa", None, 1.2, 1.0, 4, noise=0.01),
        Compared("greedy", "rag", 3.0, None, noise=0.01),
    ]
    assert [row.gap for row in compared] == [None, pytest.approx(0.25), None, None]
    replayed = report().model_copy(update={"replayed": {"greedy": {"overall": 1.68, "qa": 1.26}}})
    gaps = {(row.mode, row.task): row.gap for row in compare(told, [replayed])}
    assert gaps["greedy", "overall"] == pytest.approx(0.05), "of the prompts that were measured"
    assert gaps["greedy", "qa"] == pytest.approx(0.05)
    assert gaps["sample", "overall"] is gaps["greedy", "rag"] is None


def test_each_mode_is_compared_with_the_newest_benchmark_of_it_and_its_noise() -> None:
    def of_mode(mode: str, speedup: float, noise: float) -> BenchReport:
        rows = (samples.bench_row("dytc", speedup=speedup, mode=mode),)
        return samples.bench_report(rows=rows, environment={"noise_by_mode": {mode: noise}})

    older = of_mode("greedy", 1.1, 0.001), of_mode("sample", 1.9, 0.001)
    reports = [of_mode("greedy", 3.1, 0.012), of_mode("sample", 2.3, 0.034), *older]
    measured = {row.mode: (row.measured, row.noise) for row in compare(profile(), reports)}
    assert measured == {"greedy": (3.1, 0.012), "sample": (2.3, 0.034)}


def test_dytc_in_another_variant_is_not_what_was_predicted() -> None:
    rows = (samples.bench_row("dytc", variant="as calibrated"), samples.bench_row("suffix"))
    assert {row.measured for row in compare(profile(), [samples.bench_report(rows=rows)])} == {None}
