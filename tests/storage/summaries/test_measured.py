from __future__ import annotations

from collections.abc import Iterator

from casspec.storage.schema import BenchReport
from casspec.storage.summaries.measured import measured_speeds
from tests.storage import samples


def report(*speedups: tuple[str, float], created_at: str = "2026-03-01", **row: object) -> BenchReport:
    rows = tuple(samples.bench_row(mode=mode, speedup=speedup, **row) for mode, speedup in speedups)
    return samples.bench_report(rows=rows, created_at=created_at)


def test_each_mode_has_the_newest_measurement() -> None:
    found = measured_speeds(
        [report(("greedy", 1.7), created_at="2026-03-02"), report(("greedy", 1.1), ("sample", 1.2))]
    )
    assert {mode: (speed.speedup, speed.measured_at) for mode, speed in found.items()} == {
        "greedy": (1.7, "2026-03-02"),
        "sample": (1.2, "2026-03-01"),
    }


def test_only_the_cascade_as_the_profile_sets_it_counts() -> None:
    others = ({"method": "lookahead"}, {"variant": "published"}, {"task": "summary"})
    assert measured_speeds([report(("greedy", 2.0), **other) for other in others]) == {}


def test_no_more_reports_are_read_than_needed() -> None:
    def reports() -> Iterator[BenchReport]:
        yield report(("greedy", 1.7), ("sample", 1.2))
        raise AssertionError("both modes are known")

    assert len(measured_speeds(reports())) == 2
