"""The first texts of a process."""

from __future__ import annotations

from benchmarks.gpu.measured.warm_up import warm_up
from benchmarks.gpu.stages import Work
from casspec.runtime.model.target import TargetModel


def test_one_text_and_a_batch_are_decoded_by_all_forwards(target: TargetModel, work: Work) -> None:
    warm_up(work, target)
    assert [(row["part"], row["forwards"]) for row in work.outcome.rows] == [
        ("one text", "eager"),
        ("a batch", "eager"),
    ]
    assert all(row["seconds"] > 0 for row in work.outcome.rows)
