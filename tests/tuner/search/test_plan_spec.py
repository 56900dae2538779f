"""Plans have names that say what they are."""

from __future__ import annotations

from casspec.storage.schema import Precision, SkipSet
from casspec.tuner.search.plan_spec import PlanSpec


def test_names_say_what_a_plan_is_and_tell_plans_apart() -> None:
    skip = SkipSet(attention=(1, 2), mlp=(3,))
    specs = [PlanSpec(one, precision) for one in (SkipSet(), skip) for precision in Precision]
    names = [spec.name for spec in specs]
    assert names[:3] == ["target", "int8", "int4"]
    digits = skip.content_hash()[:4]
    assert names[3:] == [f"sparse-2a1m-{digits}", f"int8-2a1m-{digits}", f"int4-2a1m-{digits}"]
    assert [spec.is_target for spec in specs] == [True, False, False, False, False, False]
    plan = PlanSpec(skip).plan(4)
    assert (plan.name, plan.n_attention, plan.n_mlp) == (names[3], 2, 3)
