"""Charts of the search."""

from __future__ import annotations

import pytest

from casspec.storage.schema import DrafterCandidate, Precision, Quantization, SkipSet
from casspec.tuner.search.figures import pareto_figure, sensitivity_figure
from tests.storage import samples

INT8 = Quantization(precision=Precision.INT8_DYNAMIC)


def found(source: str, cost: float, acceptance: float, quantization: Quantization | None = None) -> DrafterCandidate:
    candidate = samples.candidate(acceptance=acceptance, source=source, quantization=quantization)
    return candidate.model_copy(update={"cost": cost})


def test_every_candidate_is_drawn_by_its_source_and_precision_and_the_front_as_a_line() -> None:
    candidates = [
        found("uniform", 0.5, 0.6),
        found("import:mine", 0.4, 0.7),
        found("import:other", 0.9, 0.1),
        found("tpe", 0.3, 0.5, INT8),
    ]
    (axes,) = pareto_figure(candidates).axes
    drawn = {points.get_label(): points.get_offsets().tolist() for points in axes.collections}
    assert {name: len(places) for name, places in drawn.items()} == {"uniform": 1, "import": 2, "tpe int8": 1}
    assert drawn["import"] == [[0.4, 0.7], [0.9, 0.1]]
    (front,) = axes.lines
    assert list(zip(front.get_xdata(), front.get_ydata(), strict=True)) == [(0.3, 0.5), (0.4, 0.7)]


def test_sensitivity_is_of_single_sub_layers_at_the_precision_of_the_target() -> None:
    def without(acceptance: float, quantization: Quantization | None = None, **skip: tuple[int, ...]):
        candidate = samples.candidate(acceptance=acceptance, quantization=quantization)
        return candidate.model_copy(update={"skip": SkipSet(**skip)})

    candidates = [
        without(0.9, attention=(2,)),
        without(0.8, attention=(1,)),
        without(0.7, mlp=(2,)),
        without(0.1, attention=(1, 2)),
        without(0.2, INT8, mlp=(1,)),
    ]
    (axes,) = sensitivity_figure(candidates, n_layers=4).axes
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert lines == {"attention": ([1, 2], [0.8, 0.9]), "mlp": ([2], pytest.approx([0.7]))}
