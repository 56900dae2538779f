"""Batches of a tiny model."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.gpu.measured.batches import decode_batches
from benchmarks.gpu.race import Course
from benchmarks.gpu.stages import Work
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DeviceCeilings


def test_both_methods_are_decoded_at_every_size(
    target: TargetModel, ceilings: DeviceCeilings, course: Course, work: Work
) -> None:
    decode_batches(work, target, ceilings, course, (1, 3))
    rows = work.outcome.rows
    assert [(row["batch"], row["method"]) for row in rows] == [
        (size, method) for size in (1, 3) for method in ("autoregressive", "dytc")
    ]
    assert all(row["tokens_per_s"] > 0 and row["rounds"] == course.rounds for row in rows)
    assert [row["of_bound"] is None for row in rows] == [False, True] * 2


def test_larger_batches_are_left_out_when_time_is_over(
    target: TargetModel, ceilings: DeviceCeilings, course: Course, new_work: Callable[..., Work]
) -> None:
    now = [0.0]
    work = new_work(100.0, lambda: now[0])
    work.told = lambda: now.__setitem__(0, 90.0)
    decode_batches(work, target, ceilings, course, (1, 2, 4))
    assert {row["batch"] for row in work.outcome.rows} == {1}
    assert work.outcome.notes == ["time was over before batch 2"]
