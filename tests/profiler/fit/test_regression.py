"""The fit: recovers what generated the data, and says truthfully how well it predicts what it has not seen."""

from __future__ import annotations

import random
from statistics import median

import pytest

from casspec.profiler.design import Design, design
from casspec.profiler.fit.regression import bayesian, non_negative, relative_errors
from casspec.profiler.fit.validation import latency_model
from casspec.profiler.report import error_table
from casspec.runtime.latency.features import FEATURES, padded_tokens
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import LatencyModel, LatencyPoint, LatencySample, Measurement, Precision
from tests.profiler.fakes import SHAPE, model_of, synthetic_samples, true_ms

NOISE = 0.03


@pytest.fixture(scope="module")
def noisy(plan: Design) -> LatencyModel:
    return latency_model(synthetic_samples(plan.fitted, NOISE), SHAPE, test_retest=NOISE)


def forward(n_tokens: int, context_tokens: int, layers: int = 12) -> LatencyPoint:
    return LatencyPoint(
        subject="forward", n_attention=layers, n_mlp=layers, n_tokens=n_tokens, context_tokens=context_tokens
    )


def test_latencies_without_noise_are_recovered(plan: Design) -> None:
    predictor = LatencyPredictor(latency_model(synthetic_samples(plan.fitted), SHAPE, test_retest=0.0))
    for point in plan.points:
        assert predictor.predict_ms(point) == pytest.approx(true_ms(point), rel=0.01)


def test_a_kernel_with_a_kink_of_its_own_is_recovered_beside_the_target() -> None:
    """4-bit weights: bound by memory for a few rows, by operations after, at rates the device's ceilings do not tell."""
    both = design(model_of(), precisions=[Precision.INT4_WEIGHT])

    def milliseconds(point: LatencyPoint) -> float:
        if point.precision is Precision.TARGET:
            return true_ms(point)
        sub_layers = point.n_attention + 2.2 * point.n_mlp + 4 * (point.subject in ("drafter", "forward"))
        context = 6 * FEATURES["context_bytes"](point, SHAPE) + 5 * FEATURES["context_x_tokens"](point, SHAPE)
        context += 9 * FEATURES["context_single_query"](point, SHAPE)
        return context + 0.03 + sub_layers * max(0.006, 0.0024 * padded_tokens(point)) + 0.04 * point.n_attention

    packed = {f"int4-weight:{part}_bytes": SHAPE[f"{part}_bytes"] / 4 for part in ("attention", "mlp", "head")}
    samples = [
        LatencySample(point=point, measurement=Measurement(values=(milliseconds(point),))) for point in both.fitted
    ]
    predictor = LatencyPredictor(latency_model(samples, SHAPE | packed, test_retest=0.0))
    for sub in both.points:
        tolerance = 0.01 if sub.precision is Precision.TARGET else 0.06
        assert predictor.predict_ms(sub) == pytest.approx(milliseconds(sub), rel=tolerance)


def test_noisy_latencies_are_predicted_within_their_noise_where_held_out(plan: Design, noisy: LatencyModel) -> None:
    predictor = LatencyPredictor(noisy)
    errors = [abs(predictor.predict_ms(point) / true_ms(point) - 1) for point in plan.held_out]
    assert median(errors) < NOISE
    assert max(errors) < 3 * NOISE


def test_the_cross_validated_error_of_a_good_fit_is_about_the_noise(noisy: LatencyModel) -> None:
    assert 0.4 * NOISE < noisy.cv_median_error < 1.5 * NOISE
    assert noisy.cv_median_error < noisy.cv_p90_error < 4 * NOISE
    assert noisy.noise == pytest.approx(NOISE, rel=0.5)


def test_latencies_without_structure_are_reported_as_unpredictable(plan: Design) -> None:
    dice = random.Random(0)
    samples = [
        LatencySample(point=point, measurement=Measurement(values=(10.0 ** dice.uniform(-1, 1),)))
        for point in plan.fitted
    ]
    assert latency_model(samples, SHAPE, test_retest=0.0).cv_median_error > 0.3


def test_only_the_constant_may_be_negative(plan: Design) -> None:
    samples = [
        sample.model_copy(update={"measurement": Measurement(values=(sample.measurement.median_ms - 0.05,))})
        for sample in synthetic_samples(plan.fitted, NOISE)
    ]
    found = bayesian(samples, SHAPE)
    negative = [name for name, weight in zip(found.features, found.coefficients, strict=True) if weight < 0]
    assert negative in ([], ["constant"])


def test_no_weight_of_the_non_negative_fit_is_negative(plan: Design) -> None:
    found = non_negative(synthetic_samples(plan.fitted, NOISE), SHAPE)
    assert min(found.coefficients) > 0
    assert found.covariance.shape == (len(found.features), len(found.features))


def test_a_larger_forward_is_never_predicted_cheaper(noisy: LatencyModel) -> None:
    predictor = LatencyPredictor(noisy)
    for tokens in (2, 8, 16, 64, 256):
        assert predictor.predict_ms(forward(2 * tokens, 448)) >= predictor.predict_ms(forward(tokens, 448))
        assert predictor.predict_ms(forward(tokens, 4096)) >= predictor.predict_ms(forward(tokens, 1920))
        assert predictor.predict_ms(forward(tokens, 448, 12)) >= predictor.predict_ms(forward(tokens, 448, 6))


@pytest.mark.parametrize("n_tokens", [1, 3, 24, 64])
def test_the_fast_path_does_not_depend_on_what_was_asked_before(noisy: LatencyModel, n_tokens: int) -> None:
    full = Plan.full(12)
    warmed = LatencyPredictor(noisy)
    for context in range(400, 530):
        expected = LatencyPredictor(noisy).predict_ms(forward(n_tokens, context))
        assert warmed.forward_ms(full, n_tokens, context) == expected


def test_predictions_beyond_the_measured_range_are_marked(plan: Design, noisy: LatencyModel) -> None:
    predictor = LatencyPredictor(noisy)
    assert predictor.provenance(forward(64, 1000)) == "interpolated"
    assert predictor.provenance(plan.fitted[-1]) == "measured"
    assert predictor.provenance(forward(8, 1000, layers=2)) == "extrapolated"
    assert predictor.provenance(forward(8, 1000).model_copy(update={"batch": 4})) == "extrapolated"
    assert predictor.provenance(forward(64, 5000)) == "extrapolated"
    assert predictor.provenance(forward(512, 1000)) == "extrapolated"


def test_uncertainty_is_near_the_noise_inside_and_never_below_it(noisy: LatencyModel) -> None:
    predictor = LatencyPredictor(noisy)
    inside = predictor.uncertainty(forward(8, 448))
    assert noisy.noise <= inside < 1.5 * noisy.noise
    assert predictor.uncertainty(forward(1, 200_000)) > inside


def test_the_error_table_counts_every_fitted_forward_once_in_each_grouping(plan: Design, noisy: LatencyModel) -> None:
    samples = synthetic_samples(plan.points, NOISE)
    rows = {row.group: row for row in error_table(samples, noisy, plan)}
    whole = [point for point in plan.fitted if point.subject in ("drafter", "forward")]
    for prefix in ("plan", "tokens", "context"):
        assert sum(row.n_points for name, row in rows.items() if name.startswith(prefix)) == len(whole)
    assert rows["all, cross-validated"].n_points == len(whole)
    held_out = [sample for sample in samples if sample.point in plan.held_out]
    predictor = LatencyPredictor(noisy)
    errors = relative_errors(held_out, [predictor.predict_ms(sample.point) for sample in held_out])
    assert rows["held-out cells"].median_error == pytest.approx(median(errors))
