"""Plans as switches and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.storage.schema import Precision, Quantization, SkipSet
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.space import affordable, parameters_of, skip_of, spec_of, switches, switches_of

INT8 = Precision.INT8_DYNAMIC


def test_first_and_last_layer_have_no_switch() -> None:
    assert switches(4) == ("attention.1", "mlp.1", "attention.2", "mlp.2")
    assert switches(2) == ()
    imported = SkipSet(attention=(0, 1, 3), mlp=(2, 3))
    assert skip_of(switches_of(imported, 4)) == SkipSet(attention=(1,), mlp=(2,))


@pytest.mark.parametrize("precisions", [(Precision.TARGET,), (Precision.TARGET, INT8)])
def test_a_plan_and_its_parameters_are_one(precisions) -> None:
    for spec in (
        PlanSpec(),
        PlanSpec(SkipSet(attention=(1,), mlp=(1, 2))),
        PlanSpec(SkipSet(mlp=(2,)), precisions[-1]),
    ):
        parameters = parameters_of(spec, 4, precisions)
        assert spec_of(parameters) == spec
        assert len(parameters) == 4 + len(precisions) - 1


@given(st.integers(0, 2000), st.one_of(st.none(), st.integers(0, 2000)))
def test_a_precision_is_affordable_up_to_the_limit_of_memory(extra_bytes: int, limit: int | None) -> None:
    quantization = Quantization(precision=Precision.INT8_DYNAMIC, extra_bytes=extra_bytes)
    assert affordable(quantization, limit) is (limit is None or extra_bytes <= limit)
