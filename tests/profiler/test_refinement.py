"""Points added to a design: where the fit is most unsure."""

from __future__ import annotations

from statistics import median

import numpy as np

from casspec.profiler.design import Design
from casspec.profiler.fit.validation import latency_model
from casspec.profiler.refinement import REFINING_POINTS, refining_points
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.storage.schema import LatencyPoint
from tests.profiler.fakes import SHAPE, samples_of, uneven_ms
from tests.profiler.fakes import WAVERING_NOISE as NOISE


def test_points_are_added_where_the_fit_is_most_unsure(plan: Design) -> None:
    samples = samples_of(plan.fitted, uneven_ms)
    added = refining_points(samples, SHAPE, plan)
    assert len(set(added)) == len(added) == REFINING_POINTS
    assert not set(added) & set(plan.points)
    assert len({(point.n_attention, point.n_mlp) for point in added}) > 3
    predictor = LatencyPredictor(latency_model(samples, SHAPE, NOISE, kinds=("measured-table",)))
    unsure = median(predictor.uncertainty(point) for point in added)
    assert unsure > median(predictor.uncertainty(point) for point in plan.fitted if point.subject == "forward")


def test_the_same_measurements_add_the_same_points(plan: Design) -> None:
    samples = samples_of(plan.fitted, uneven_ms)
    assert refining_points(samples, SHAPE, plan, 1) == refining_points(samples, SHAPE, plan, 1)


def test_measuring_them_helps_more_than_measuring_others(plan: Design) -> None:
    samples = samples_of(plan.fitted, uneven_ms)
    pool = refining_points(samples, SHAPE, plan, count=400)
    first, last = pool[:REFINING_POINTS], pool[-REFINING_POINTS:]

    def worst_uncertainty(added: list[LatencyPoint]) -> float:
        more = samples_of((*plan.fitted, *added), uneven_ms)
        predictor = LatencyPredictor(latency_model(more, SHAPE, NOISE, kinds=("measured-table",)))
        return float(np.quantile([predictor.uncertainty(point) for point in pool], 0.95))

    assert worst_uncertainty(first) < worst_uncertainty(last)
