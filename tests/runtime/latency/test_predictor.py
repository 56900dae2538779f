"""Latency prediction: the table of the hot path agrees with the model it is read from."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.model.plan import Plan
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import MeasuredPlan, Precision, SkipSet
from tests.runtime.latency.test_features import MODEL, TARGET, point
from tests.runtime.latency.test_table import TABLE
from tests.runtime.tiny import tiny_target

PREDICTOR = LatencyPredictor(MODEL)
PLANS = [TARGET.full_plan, Plan.skipping(SkipSet(attention=(1,), mlp=(1, 2)), 4, "light")]


@given(st.sampled_from(PLANS), st.integers(1, 128), st.integers(0, 2000))
def test_the_table_gives_what_the_model_predicts(plan: Plan, n_tokens: int, context: int) -> None:
    predicted = PREDICTOR.predict_ms(point(plan, n_tokens, context))
    assert PREDICTOR.forward_ms(plan, n_tokens, context) == pytest.approx(predicted)
    assert PREDICTOR.forward_ms(plan, n_tokens, context) == pytest.approx(predicted)  # from the table
    assert predicted > 0


def test_more_work_never_costs_less() -> None:
    full, light = PLANS
    for context in (0, 100, 1000):
        costs = [PREDICTOR.forward_ms(full, n, context) for n in range(1, 129)]
        assert costs == sorted(costs)
        assert PREDICTOR.forward_ms(light, 1, context) < costs[0]
    assert PREDICTOR.forward_ms(full, 1, 1000) > PREDICTOR.forward_ms(full, 1, 0)


def test_predictions_say_how_far_they_can_be_trusted() -> None:
    inside, outside = point(TARGET.full_plan, 4, 100), point(TARGET.full_plan, 4, 4000)
    assert (PREDICTOR.provenance(inside), PREDICTOR.provenance(outside)) == ("interpolated", "extrapolated")
    size = len(MODEL.features)
    certain = tuple(tuple(0.0 for _ in range(size)) for _ in range(size))
    vague = tuple(tuple(float(i == j) for j in range(size)) for i in range(size))
    spread = [
        LatencyPredictor(MODEL.model_copy(update={"covariance": covariance})).uncertainty(inside)
        for covariance in (certain, vague)
    ]
    assert spread[0] == pytest.approx(MODEL.noise)
    assert spread[1] > spread[0]


def test_what_was_measured_is_told_from_what_lies_between_and_beyond() -> None:
    measured = MeasuredPlan(
        precision=Precision.TARGET, batch=1, n_attention=4, n_mlp=4, cells=((4, 128), (8, 128), (8, 1024))
    )
    lean = MeasuredPlan(precision=Precision.TARGET, batch=2, n_attention=2, n_mlp=3, cells=((1, 64),))
    predictor = LatencyPredictor(MODEL.model_copy(update={"measured": (measured, lean)}))
    here = point(TARGET.full_plan, 3, 100)
    assert predictor.provenance(here) == "measured"  # 3 tokens run as 4 and attend to 128 rows
    assert predictor.provenance(here.model_copy(update={"n_tokens": 7})) == "measured"
    assert predictor.provenance(here.model_copy(update={"n_tokens": 2})) == "interpolated"
    assert predictor.provenance(here.model_copy(update={"n_attention": 3})) == "interpolated"
    assert predictor.provenance(here.model_copy(update={"subject": "mlp"})) == "interpolated"
    for beyond in (
        {"context_tokens": 200},
        {"n_attention": 1},
        {"batch": 4},
        {"precision": Precision.INT4_WEIGHT},
    ):
        assert predictor.provenance(here.model_copy(update=beyond)) == "extrapolated"


def test_a_table_holds_for_whole_forwards_of_its_precision() -> None:
    predictor = LatencyPredictor(MODEL.model_copy(update={"tables": (TABLE,)}))
    here = point(TARGET.full_plan, 1, 60)
    assert predictor.predict_ms(here) == pytest.approx(2.0 * PREDICTOR.predict_ms(here))
    assert predictor.forward_ms(TARGET.full_plan, 1, 60) == pytest.approx(2.0 * PREDICTOR.predict_ms(here))
    assert predictor.uncertainty(here) == pytest.approx((MODEL.noise**2 + 0.1**2) ** 0.5)
    for other in ({"subject": "mlp"}, {"precision": Precision.INT8_DYNAMIC}):
        there = here.model_copy(update=other)
        assert predictor.predict_ms(there) == PREDICTOR.predict_ms(there)
    batched = here.model_copy(update={"batch": 8})
    assert predictor.predict_ms(batched) == pytest.approx(2.0 * PREDICTOR.predict_ms(batched))


def test_each_batch_is_predicted_by_the_table_of_the_largest_below() -> None:
    larger = TABLE.model_copy(update={"batch": 4, "ratios": (3.0,) * 8})
    predictor = LatencyPredictor(MODEL.model_copy(update={"tables": (larger, TABLE)}))
    here = point(TARGET.full_plan, 1, 60)
    for batch, ratio in ((1, 2.0), (2, 2.0), (4, 3.0), (16, 3.0)):
        there = here.model_copy(update={"batch": batch})
        assert predictor.predict_ms(there) == pytest.approx(ratio * PREDICTOR.predict_ms(there))


def test_a_repeated_look_up_computes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = LatencyPredictor(MODEL)
    first = predictor.forward_ms(TARGET.full_plan, 8, 100)
    monkeypatch.setattr(LatencyPredictor, "predict_ms", lambda *_: pytest.fail("computed again"))
    assert predictor.forward_ms(TARGET.full_plan, 8, 100) == first
    assert predictor.forward_ms(TARGET.full_plan, 8, 101) == first  # the same attended rows


def test_a_look_up_takes_microseconds() -> None:
    PREDICTOR.forward_ms(TARGET.full_plan, 8, 100)

    def seconds() -> float:
        begin = time.perf_counter()
        for _ in range(1000):
            PREDICTOR.forward_ms(TARGET.full_plan, 8, 100)
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(20)) / 1000 < 5e-6


def test_features_of_a_later_release_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedOption, match=r"warp_drive.*upgrade casspec"):
        LatencyPredictor(MODEL.model_copy(update={"features": (*MODEL.features[1:], "warp_drive")}))


LOW_BIT = [Plan.skipping(SkipSet(), 4, precision=p) for p in (Precision.INT8_DYNAMIC, Precision.INT4_WEIGHT)]


@pytest.mark.parametrize("plan", LOW_BIT, ids=lambda plan: plan.name)
def test_each_precision_is_predicted_from_its_own_weights(plan: Plan) -> None:
    target = tiny_target(hidden_size=1024, intermediate_size=2048)
    model = builtin_latency(target)
    own, quantised = (LatencyPredictor(model).forward_ms(each, 1, 64) for each in (target.full_plan, plan))
    assert quantised < own  # reading weights is what one token of a wide model costs
    lacking = {name: 0.0 for name in model.shape if ":" in name}
    free = LatencyPredictor(model.model_copy(update={"shape": model.shape | lacking}))
    assert free.forward_ms(plan, 1, 64) < quantised
    assert free.forward_ms(target.full_plan, 1, 64) == own


@pytest.mark.parametrize("plan", LOW_BIT, ids=lambda plan: plan.name)
def test_a_model_fitted_before_a_precision_was_measured_takes_it_for_the_targets_own(plan: Plan) -> None:
    kept = [i for i, name in enumerate(MODEL.features) if ":" not in name]
    changes = {
        "features": tuple(MODEL.features[i] for i in kept),
        "coefficients": tuple(MODEL.coefficients[i] for i in kept),
        "shape": {name: value for name, value in MODEL.shape.items() if ":" not in name},
    }
    predictor = LatencyPredictor(MODEL.model_copy(update=changes))
    for n_tokens in (1, 8, 40):
        assert predictor.forward_ms(plan, n_tokens, 100) == predictor.forward_ms(TARGET.full_plan, n_tokens, 100)
    quantised = point(plan, 4, 100).model_copy(update={"precision": plan.precision})
    assert predictor.predict_ms(quantised) == predictor.predict_ms(point(plan, 4, 100))
