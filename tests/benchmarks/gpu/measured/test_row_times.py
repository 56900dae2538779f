"""Forwards by rows, on a timer that was told what they take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.gpu.measured.row_times import CALLS, ROWS, time_rows
from benchmarks.gpu.stages import Work
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DeviceCeilings


class ToldTimer:
    """Runs each call once; the first round is slow."""

    def __init__(self) -> None:
        self.calls = 0

    def time_ms(self, call: Callable[[], object], repeats: int) -> list[float]:
        call()
        place = self.calls % len(ROWS)
        self.calls += 1
        return [100.0 if self.calls <= len(ROWS) else float(place + 1)] * repeats

    def now_s(self) -> float:
        return 0.0


def test_the_first_round_does_not_count(target: TargetModel, ceilings: DeviceCeilings, work: Work) -> None:
    timer = ToldTimer()
    time_rows(work, target, ceilings, 2, timer)
    rows = work.outcome.rows
    assert timer.calls == 3 * len(ROWS)
    assert [(row["rows"], row["ms"]) for row in rows] == [(n, place + 1) for place, n in enumerate(ROWS)]
    assert rows[-1]["over_one"] == pytest.approx(len(ROWS))
    assert rows[0]["of_bound"] > 0
    assert rows[1]["of_bound"] is None
    assert work.outcome.notes[0].startswith("without graphs")
    assert CALLS > 1


def test_nothing_is_timed_when_time_is_over(
    target: TargetModel, ceilings: DeviceCeilings, new_work: Callable[..., Work]
) -> None:
    timer = ToldTimer()
    time_rows(new_work(0.0), target, ceilings, 2, timer)
    assert timer.calls == 0
