"""What policies are built from: a plan of the profile, or one that nobody searched for; latencies measured, or built in."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.policies.base import PolicyContext, evenly_sparse
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import DrafterSpec, Precision, Quantization
from tests.runtime.drafts import TARGET
from tests.runtime.tiny import tiny_profile

PROFILE = tiny_profile(TARGET).document
assert PROFILE is not None
CONTEXT = PolicyContext(TARGET, PROFILE, "greedy", None)
WITHOUT_PROFILE = replace(CONTEXT, profile=None)


@given(st.integers(3, 80), st.floats(0, 1))
def test_an_evenly_sparse_plan_keeps_both_ends_and_spreads_what_it_leaves_out(n_layers: int, ratio: float) -> None:
    plan = evenly_sparse(n_layers, ratio)
    skipped = sorted(set(range(n_layers)) - {layer for layer, _, _ in plan.steps})
    assert len(skipped) == round(ratio * (n_layers - 2))
    assert plan.n_attention == plan.n_mlp == n_layers - len(skipped)
    assert not {0, n_layers - 1} & set(skipped)
    gaps = [after - before for before, after in pairwise(skipped)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert not skipped or abs((skipped[0] - 1) - (n_layers - 2 - skipped[-1])) <= 1


def test_a_plan_is_taken_by_its_name() -> None:
    assert CONTEXT.plan("lighter").name == "lighter"
    with pytest.raises(UnsupportedOption, match="no drafter 'heavy'; it has: light, lighter"):
        CONTEXT.plan("heavy")
    with pytest.raises(UnsupportedOption, match="it has: none"):
        WITHOUT_PROFILE.plan("light")


def test_without_a_name_it_is_the_first_that_only_skips_or_an_evenly_sparse_one() -> None:
    low_bit = DrafterSpec(name="bits", kind="self", quantization=Quantization(precision=Precision.INT4_WEIGHT))
    first = PROFILE.model_copy(update={"drafters": (low_bit, *PROFILE.drafters)})
    assert replace(CONTEXT, profile=first).plan().name == "light"
    assert WITHOUT_PROFILE.plan(ratio=1.0) == evenly_sparse(TARGET.n_layers, 1.0)


def test_latencies_are_those_of_the_profile_or_built_in() -> None:
    measured, builtin = (context.forward_ms()(TARGET.full_plan, 1, 64) for context in (CONTEXT, WITHOUT_PROFILE))
    assert measured == pytest.approx(1000 * builtin)  # as tiny_profile says
