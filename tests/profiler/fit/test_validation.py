"""The choice among candidates: each wins where it should, none is judged by what it has seen."""

from __future__ import annotations

from typing import Any

import pytest

from casspec.profiler.design import Design, design
from casspec.profiler.fit.candidates import WAYS_TO_FIT
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
from casspec.profiler.report import checks, held_out
from casspec.storage.schema import CandidateErrors, LatencyModel, Measurement
from tests.profiler.fakes import SHAPE, model_of, samples_of, synthetic_samples, true_ms, uneven_ms
from tests.profiler.fakes import WAVERING_NOISE as NOISE


def test_where_features_say_it_all_a_linear_model_is_chosen(plan: Design) -> None:
    model = latency_model(synthetic_samples(plan.fitted, NOISE), SHAPE, test_retest=NOISE)
    assert model.kind in ("bayesian-linear", "non-negative-linear")
    assert model.tables == ()


def test_where_time_has_ways_of_its_own_a_table_is_chosen_and_keeps_the_bars(
    plan: Design, uneven: LatencyModel
) -> None:
    assert uneven.kind == "measured-table"
    by_kind = {entry.kind: entry for entry in uneven.candidates}
    assert by_kind.keys() == WAYS_TO_FIT.keys()
    assert by_kind["measured-table"].by_point[0] < 0.6 * by_kind["bayesian-linear"].by_point[0]
    assert by_kind["measured-table"].by_plan[0] < by_kind["bayesian-linear"].by_plan[0]
    drawn = held_out(samples_of(plan.points, uneven_ms), uneven, plan)
    assert len(drawn) == len(plan.held_out)
    found = {check.name: check for check in checks(uneven, drawn)}
    assert found["held-out cells, median"].holds
    assert found["held-out cells, 90th percentile"].holds
    assert found["plans left out of the fit, median"].holds
    assert len(found) == 4


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
