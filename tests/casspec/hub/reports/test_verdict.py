from __future__ import annotations

import pytest

from casspec.hub.reports.verdict import verdict
from tests.casspec.hub.reports.drifting import bench_of
from tests.storage import samples

OLD, NEW = samples.profile(), samples.profile(seed=1)


def test_the_newest_race_of_the_two_decides() -> None:
    found = verdict([samples.bench_report(), bench_of(OLD, 1.5, 1.2), bench_of(OLD, 1.0, 9.0)], NEW, OLD)
    assert found is not None
    assert found.speed == pytest.approx(1.25)
    assert found.says == "1.25 times as fast (greedy 1.25; noise 1.0%)"
    assert verdict([samples.bench_report(), bench_of(NEW, 1.5, 1.2)], NEW, OLD) is None


def test_every_mode_counts_with_what_a_server_decodes_with_there() -> None:
    old = samples.profile(predicted_of_others={"sample": {"suffix": 9.0}})
    rows = (
        samples.bench_row(speedup=2.0),
        samples.bench_row(speedup=1.0, variant="against"),
        samples.bench_row(speedup=1.0, mode="sample"),
        samples.bench_row("suffix", speedup=2.0, mode="sample", variant="against"),
        samples.bench_row("suffix", speedup=9.0, mode="sample"),
        samples.bench_row(speedup=5.0, mode="sample", task="a task", variant="against"),
    )
    found = verdict([bench_of(old, 1.0, 1.0).model_copy(update={"rows": rows})], NEW, old)
    assert found is not None
    assert found.by_mode == {"sample": 0.5, "greedy": 2.0}
    assert found.speed == pytest.approx(1.0)


def test_a_race_that_one_of_them_has_no_row_in_says_nothing() -> None:
    report = bench_of(OLD, 1.0, 1.0)
    assert verdict([report.model_copy(update={"rows": report.rows[:1]})], NEW, OLD) is None
