"""Chains of a plan in fewer bits: which plan, and which precisions run."""

from __future__ import annotations

import pytest

from casspec.runtime.decode import Decoder
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target


@pytest.mark.parametrize(("precision", "drafter"), [("int8-dynamic", "int8"), ("int4-weight", "int4")])
def test_a_quantised_chain_may_also_skip_what_a_plan_of_the_profile_skips(precision: str, drafter: str) -> None:
    target = tiny_target(seed=7, intermediate_size=64)
    if target.refusal(Precision(precision)):
        pytest.skip(f"{precision} cannot run on this processor")
    prompt = repetitive_prompt(30)
    alone = Decoder(target, tiny_profile(target), "quantised", {"precision": precision})
    assert alone.generate(prompt, 40).statistics.drafted_by.keys() == {drafter}
    skipping = Decoder(target, tiny_profile(target), "quantised", {"precision": precision, "drafter": "light"})
    statistics = skipping.generate(prompt, 40).statistics
    assert statistics.drafted_by.keys() == {f"{drafter}-light"}
    assert alone.generate(prompt, 40).statistics.acceptance_rate > statistics.acceptance_rate


@pytest.mark.parametrize(
    ("precision", "named"),
    [
        ("int2", r"int8-dynamic or int4-weight, not 'int2'"),
        ("target", r"int8-dynamic or int4-weight, not 'target'"),
        ("int4-weight", r"int4-weight cannot run here"),  # 24 inputs are no multiple of a group
    ],
)
def test_a_precision_that_cannot_run_is_refused_in_one_line(precision: str, named: str) -> None:
    with pytest.raises(UnsupportedOption, match=named) as refusal:
        Decoder(tiny_target(hidden_size=24), method="quantised", parameters={"precision": precision})
    assert "\n" not in str(refusal.value)
