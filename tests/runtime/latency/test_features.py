"""Features of a forward: times, of the sizes that really run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.latency.features import FEATURES, attended_tokens, padded_tokens
from casspec.runtime.latency.predictor import builtin_latency
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import LatencyPoint
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
