"""The stages of a run: their order, what they need, what they leave out."""

from __future__ import annotations

import pytest

from benchmarks.gpu.run import Bench, stages_of
from benchmarks.gpu.stages import Skipped, Work
from benchmarks.gpu.wide_model import config_of


def bench(layers: int | None = None) -> Bench:
    return Bench("cpu", config_of(320, layers), 1, 4, 1)


def test_every_stage_comes_after_what_it_needs() -> None:
    stages = stages_of(bench(), tests=True)
    names = [stage.name for stage in stages]
    assert len(set(names)) == len(names)
    assert all(names.index(needed) < names.index(stage.name) for stage in stages for needed in stage.needs)


def test_tests_can_be_left_out() -> None:
    assert next(stage.name for stage in stages_of(bench(), tests=True)) == "tests"
    assert "tests" not in [stage.name for stage in stages_of(bench(), tests=False)]


def test_a_model_with_layers_that_do_nothing_is_not_calibrated(work: Work) -> None:
    with pytest.raises(Skipped, match="for free"):
        bench(layers=14).calibrate(work)
