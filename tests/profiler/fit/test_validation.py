"""The candidates: each wins where it should, none is judged by what it has seen, and what is stored predicts as what was fitted."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import log2
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from casspec.profiler.design import Design, design
from casspec.profiler.fit.candidates import CANDIDATES, Fitted, attended_lines, plan_lines
from casspec.profiler.fit.regression import relative_errors
from casspec.profiler.fit.validation import (
    beyond_half,
    choose,
    cross_validated_ms,
    fit_all,
    folds_of,
    latency_model,
    plan_class,
    point_folds,
)
from casspec.profiler.refinement import REFINING_POINTS, refining_points
from casspec.profiler.report import checks, cross_validated, held_out
from casspec.runtime.latency.features import padded_tokens
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.storage.schema import CandidateErrors, LatencyModel, LatencyPoint, LatencySample, Measurement
from tests.profiler.fakes import SHAPE, model_of, synthetic_samples, true_ms

NOISE = 0.01


def uneven_ms(point: LatencyPoint) -> float:
    """Kernels that waver with the query length and caches that overflow in the middle, as no feature knows."""
    waver = 1.0 + 0.12 * np.sin(2.5 * log2(padded_tokens(point) + 1))
    return true_ms(point) * waver * (1.0 + 0.1 * np.tanh((point.context_tokens - 700) / 300))


def samples_of(points: tuple[LatencyPoint, ...], ms: Callable[[LatencyPoint], float]) -> list[LatencySample]:
    dice = random.Random(0)
    return [
        LatencySample(point=point, measurement=Measurement(values=(ms(point) * (1 + dice.gauss(0, NOISE)),)))
        for point in points
    ]


@pytest.fixture(scope="module")
def uneven(plan: Design) -> LatencyModel:
    return latency_model(samples_of(plan.fitted, uneven_ms), SHAPE, test_retest=NOISE)


def test_where_features_say_it_all_a_linear_model_is_chosen(plan: Design) -> None:
    model = latency_model(synthetic_samples(plan.fitted, NOISE), SHAPE, test_retest=NOISE)
    assert model.kind in ("bayesian-linear", "non-negative-linear")
    assert model.tables == ()


def test_where_time_has_ways_of_its_own_a_table_is_chosen_and_keeps_the_bars(
    plan: Design, uneven: LatencyModel
) -> None:
    assert uneven.kind == "measured-table"
    by_kind = {entry.kind: entry for entry in uneven.candidates}
    assert by_kind.keys() == CANDIDATES.keys()
    assert by_kind["measured-table"].by_point[0] < 0.6 * by_kind["bayesian-linear"].by_point[0]
    assert by_kind["measured-table"].by_plan[0] < by_kind["bayesian-linear"].by_plan[0]
    drawn = held_out(samples_of(plan.points, uneven_ms), uneven, plan)
    assert len(drawn) == len(plan.held_out)
    found = {check.name: check for check in checks(uneven, drawn)}
    assert found["held-out cells, median"].holds
    assert found["held-out cells, 90th percentile"].holds
    assert found["plans left out of the fit, median"].holds
    assert len(found) == 4


@pytest.mark.parametrize("kind", ["measured-table", "boosted-table"])
def test_a_stored_table_predicts_what_was_fitted(plan: Design, kind: str) -> None:
    samples = samples_of(plan.fitted, uneven_ms)
    model = latency_model(samples, SHAPE, NOISE, kinds=(kind,))
    stored = LatencyPredictor(LatencyModel.model_validate_json(model.canonical_json()))
    on_grid = [point for point in plan.fitted if point.subject == "forward" and point.context_tokens < 1900]
    (fitted,) = fit_all(samples, SHAPE, (kind,)).values()
    predicted = fitted.predict_ms(on_grid, SHAPE)
    off = [abs(stored.predict_ms(point) / ms - 1) for point, ms in zip(on_grid, predicted, strict=True)]
    assert median(off) < 0.01
    for point in (on_grid[0], on_grid[-1]):
        assert stored.uncertainty(point) >= model.noise > 0


def test_a_table_leaves_what_lies_beyond_it_to_the_linear_part(uneven: LatencyModel) -> None:
    predictor = LatencyPredictor(uneven)
    linear = LatencyPredictor(uneven.model_copy(update={"tables": ()}))
    far = [
        LatencyPoint(subject="forward", n_attention=12, n_mlp=12, n_tokens=8, context_tokens=context)
        for context in (4000, 16000)
    ]
    ratios = [predictor.predict_ms(point) / linear.predict_ms(point) for point in far]
    assert ratios[0] == pytest.approx(ratios[1])
    assert {predictor.provenance(point) for point in far} == {"extrapolated"}


def test_fits_take_one_thread_and_give_the_others_back(plan: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    fit = CANDIDATES["boosted-table"]

    def spy(*arguments: Any) -> Fitted:
        seen.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "openmp")
        return fit(*arguments)

    monkeypatch.setitem(CANDIDATES, "boosted-table", spy)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        latency_model(synthetic_samples(plan.fitted), SHAPE, test_retest=0.0, kinds=("boosted-table",))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {1}


def test_sub_layers_alone_are_predicted_by_the_linear_part(uneven: LatencyModel) -> None:
    alone = LatencyPoint(subject="mlp", n_attention=0, n_mlp=12, n_tokens=8, context_tokens=0)
    linear = LatencyPredictor(uneven.model_copy(update={"tables": ()}))
    assert LatencyPredictor(uneven).predict_ms(alone) == linear.predict_ms(alone)


def test_no_fold_has_seen_what_it_is_judged_by(plan: Design) -> None:
    samples = samples_of(plan.fitted, true_ms)
    place = next(i for i, sample in enumerate(samples) if sample.point.subject == "drafter")
    wrong = samples[place].model_copy(update={"measurement": Measurement(values=(true_ms(samples[place].point) / 20,))})
    spoiled = [*samples[:place], wrong, *samples[place + 1 :]]
    kinds = ("bayesian-linear", "measured-table")
    for folds in (point_folds(samples), folds_of(samples, plan_class)):
        (fold,) = [fold for fold in folds if place in fold]
        same = cross_validated_ms(samples, SHAPE, fit_all(samples, SHAPE, kinds[:1]), [fold])
        told = cross_validated_ms(spoiled, SHAPE, fit_all(samples, SHAPE, kinds[:1]), [fold])
        assert told[kinds[0]][place] == pytest.approx(same[kinds[0]][place])
        assert told[kinds[0]][place] == pytest.approx(true_ms(wrong.point), rel=0.05)


def test_a_plan_is_left_out_with_all_its_forwards(plan: Design) -> None:
    samples = synthetic_samples(plan.fitted)
    for fold in folds_of(samples, plan_class):
        left_out = {plan_class(samples[place].point) for place in fold}
        others = {
            plan_class(s.point) for i, s in enumerate(samples) if i not in fold and s.point.subject != "attention"
        }
        assert len(left_out) == 1
        assert not left_out & others


@pytest.mark.parametrize("sizes", [{"n_layers": 1, "max_context": 2048}, {"n_layers": 12, "max_context": 128}])
def test_a_model_of_one_plan_or_one_context_is_fitted_all_the_same(sizes: dict[str, int]) -> None:
    model = latency_model(synthetic_samples(design(model_of(**sizes)).fitted, NOISE), SHAPE, NOISE)
    (chosen,) = [entry for entry in model.candidates if entry.kind == model.kind]
    assert (chosen.by_plan == chosen.by_point) == (sizes["n_layers"] == 1)
    assert (chosen.by_context == chosen.by_point) == (sizes["max_context"] == 128)
    assert model.cv_median_error < 5 * NOISE


def test_beyond_half_the_largest_context_is_predicted_from_below(plan: Design) -> None:
    samples = synthetic_samples(plan.fitted, NOISE)
    fits = fit_all(samples, SHAPE, ("bayesian-linear",))
    assert beyond_half(samples, SHAPE, fits)["bayesian-linear"][0] < 0.05
    slow = [
        sample.model_copy(update={"measurement": Measurement(values=(sample.measurement.median_ms * 2,))})
        if sample.point.context_tokens > 1500
        else sample
        for sample in samples
    ]
    assert beyond_half(slow, SHAPE, fits)["bayesian-linear"][0] == pytest.approx(0.5, abs=0.05)
    assert beyond_half([s for s in samples if s.point.context_tokens == 0], SHAPE, fits) == {}


def test_the_simplest_of_equals_is_chosen() -> None:
    def entry(kind: Any, error: float) -> CandidateErrors:
        pair = (error, 3 * error)
        return CandidateErrors(kind=kind, by_point=pair, by_plan=pair, by_context=pair)

    compared = [entry("boosted-table", 0.0299), entry("measured-table", 0.03), entry("bayesian-linear", 0.04)]
    assert choose(compared).kind == "measured-table"


def test_cross_validated_errors_tell_of_every_whole_forward(plan: Design, uneven: LatencyModel) -> None:
    samples = samples_of(plan.fitted, uneven_ms)
    known = cross_validated(samples, uneven)
    assert [entry.sample for entry in known] == [s for s in samples if s.point.subject in ("drafter", "forward")]
    errors = relative_errors([entry.sample for entry in known], [entry.predicted_ms for entry in known])
    assert [entry.error for entry in known] == pytest.approx(errors)
    assert median(errors) == pytest.approx(uneven.cv_median_error)


def test_grid_lines() -> None:
    assert plan_lines(12) == (3, 6, 9, 12)
    assert plan_lines(1) == (1,)
    assert attended_lines(1921) == (64, 128, 256, 512, 1024, 1984)
    assert attended_lines(1) == (64,)


# --------------------------------------------------------------------------------------------------------- refinement


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
