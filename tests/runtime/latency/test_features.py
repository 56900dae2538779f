"""Features of a forward: times, of the sizes that really run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.latency.features import FEATURES, attended_tokens, padded_tokens, roofline_of
from casspec.runtime.latency.predictor import builtin_latency
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import LatencyPoint, Precision
from tests.runtime.tiny import tiny_target

TARGET = tiny_target()
MODEL = builtin_latency(TARGET).model_copy(update={"fitted_context_tokens": (16, 128)})


def point(plan: Plan, n_tokens: int, context: int) -> LatencyPoint:
    return LatencyPoint(
        subject="forward", n_attention=plan.n_attention, n_mlp=plan.n_mlp, n_tokens=n_tokens, context_tokens=context
    )


@given(st.integers(1, 512), st.integers(0, 2000))
def test_points_are_rounded_up_as_forwards_are(n_tokens: int, context: int) -> None:
    here = point(TARGET.full_plan, n_tokens, context)
    assert padded_tokens(here) >= n_tokens
    assert attended_tokens(here) % 64 == 0
    assert 0 <= attended_tokens(here) - n_tokens - context < 64


def test_every_feature_is_a_time() -> None:
    for feature in FEATURES.values():
        assert feature(point(TARGET.full_plan, 5, 100), MODEL.shape) >= 0


def test_weights_count_at_their_own_precision_alone() -> None:
    target = point(TARGET.full_plan, 5, 100)
    quantised = target.model_copy(update={"precision": Precision.INT4_WEIGHT})
    here, there = "weight_bytes", "int4-weight:weight_bytes"
    assert FEATURES[here](target, MODEL.shape) > 0 == FEATURES[here](quantised, MODEL.shape)
    assert FEATURES[there](quantised, MODEL.shape) > 0 == FEATURES[there](target, MODEL.shape)
    assert FEATURES["context_bytes"](target, MODEL.shape) == FEATURES["context_bytes"](quantised, MODEL.shape)


def test_a_roofline_counts_the_head_of_whole_forwards_and_every_sequence_of_a_batch() -> None:
    whole = point(TARGET.full_plan, 4, 0)
    body = whole.model_copy(update={"subject": "mlp"})
    operations, n_bytes = roofline_of(whole, MODEL.shape)
    assert operations - roofline_of(body, MODEL.shape)[0] == pytest.approx(4 * MODEL.shape["head_operations"])
    assert n_bytes - roofline_of(body, MODEL.shape)[1] == pytest.approx(MODEL.shape["head_bytes"])
    assert roofline_of(whole.model_copy(update={"batch": 3}), MODEL.shape)[0] == pytest.approx(3 * operations)
