"""What every cascade over the max-gram drafter keeps to."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.policies.horizontal import Horizontal
from casspec.runtime.policies.tree_vertical import TreeVertical
from casspec.runtime.policies.vc_hc import VerticalHorizontal
from casspec.runtime.policies.vertical import Vertical
from tests.runtime.drafts import PLAN, TARGET, drafted
from tests.runtime.tiny import cold_matrix, repetitive_prompt

pytestmark = pytest.mark.usefixtures("without_gradients")


@settings(max_examples=40)
@given(
    st.sampled_from(
        [
            (Vertical, {"n_tokens": 300, "n_drafted": 300, "lenience": 9.0}),
            (Horizontal, {"n_strong": 3, "n_cheap": 300}),
            (VerticalHorizontal, {"k11": 4, "k12": 300, "k22": 300, "n_children": 20, "lenience": 2.0}),
            (TreeVertical, {"n_tokens": 300, "max_nodes": 127, "width": 5}),
        ]
    ),
    st.integers(0, 140),
    st.integers(0, 5),
)
def test_no_draft_is_deeper_or_larger_than_allowed(
    method: tuple[Any, dict[str, Any]], max_depth: int, seed: int
) -> None:
    policy, parameters = method
    tree = drafted(policy(PLAN, cold_matrix(TARGET), **parameters), repetitive_prompt(40, seed), max_depth)
    assert max(tree.depths) <= max_depth
    assert len(tree) <= 128
    assert (len(tree) > 1) == (max_depth > 0)
