"""Races of a tiny model: the rows that come out, and what is said of them."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.gpu.measured import decoding
from benchmarks.gpu.measured.decoding import CALIBRATED, decode, decode_calibrated
from benchmarks.gpu.race import Course
from benchmarks.gpu.stages import Row, Work
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DeviceCeilings
from tests.runtime.tiny import tiny_profile


def methods(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [(row["mode"], row["method"], row["forwards"]) for row in rows]


def test_both_methods_are_decoded_in_both_modes(
    target: TargetModel, ceilings: DeviceCeilings, course: Course, work: Work
) -> None:
    decode(work, target, ceilings, course)
    assert methods(work.outcome.rows) == [
        (mode, method, "eager") for mode in ("sample", "greedy") for method in ("autoregressive", "dytc")
    ]
    assert all((row["rounds"], row["prompts"], row["same_text"]) == (2, 2, 6) for row in work.outcome.rows)
    said = " ".join(work.outcome.notes)
    assert all(words in said for words in ("without graphs", "noise, sample", "noise, greedy", "bound: "))


def test_graphs_take_part_where_there_are_some(
    target: TargetModel, ceilings: DeviceCeilings, course: Course, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "available", lambda _: ["eager", "graphs"])
    monkeypatch.setattr(decoding, "captures", lambda _: "graphs: all")
    decode(work, target, ceilings, Course(course.prompts[:1], 4, 1, modes=("greedy",)))
    assert methods(work.outcome.rows) == [
        ("greedy", method, way) for method, way in [("autoregressive", "eager"), ("autoregressive", "graphs")]
    ] + [("greedy", "dytc", "eager"), ("greedy", "dytc", "graphs")]
    assert "graphs: all" in work.outcome.notes


def test_a_profile_is_raced_against_none(
    target: TargetModel, ceilings: DeviceCeilings, course: Course, work: Work
) -> None:
    decode_calibrated(work, target, ceilings, course, tiny_profile(target))
    assert [name for mode, name, _ in methods(work.outcome.rows) if mode == "greedy"] == [
        "autoregressive",
        "dytc",
        CALIBRATED,
    ]
