"""A fixed tree over a plan: the plan's best tokens in the shape of its acceptance, one forward a level."""

from __future__ import annotations

import pytest

from casspec.runtime.drafters.layouts import self_rank_acceptance, static_layout
from casspec.runtime.policies.base import PolicyContext
from casspec.runtime.policies.static_tree import BUILTIN_ACCEPTANCE, StaticTree, first_acceptance
from tests.runtime.drafts import OTHER, PLAN, TARGET, drafted, own_tokens, sequence_of
from tests.runtime.tiny import repetitive_prompt, tiny_profile

pytestmark = pytest.mark.usefixtures("without_gradients")
PROMPT = repetitive_prompt(40)


def test_nodes_are_those_of_the_layout_and_its_first_path_is_the_plans_own_text() -> None:
    tree = drafted(StaticTree(PLAN, acceptance=0.7, n_nodes=20, max_depth=4, width=5), PROMPT)
    layout = static_layout(20, 4, self_rank_acceptance(0.7, 5))
    assert len(tree) == 1 + len(layout)
    assert len(tree.children(0)) == sum(parent == 0 for parent, _ in layout)
    path = []
    while tree.children(path[-1] if path else 0):
        path.append(tree.children(path[-1] if path else 0)[0])
    assert [tree.tokens[node] for node in path] == own_tokens(sequence_of(PROMPT), [], len(path))


@pytest.mark.parametrize("max_depth", [0, 1, 3])
def test_a_level_takes_one_forward_and_none_lies_deeper_than_allowed(max_depth: int) -> None:
    sequence, policy = sequence_of(PROMPT), StaticTree(PLAN, n_nodes=30, max_depth=5)
    policy.begin(sequence)
    sequence.recent_forwards()
    tree = policy.draft(sequence, max_depth)
    assert max(tree.depths) == max_depth
    assert [ran.plan.name for ran in sequence.recent_forwards()] == ["light"] * max_depth


def test_the_layout_is_made_for_what_the_profile_says_of_the_plan() -> None:
    context = PolicyContext(TARGET, tiny_profile(TARGET).document, "greedy", None)
    assert first_acceptance(context, context.plan("light")) == 0.8
    assert first_acceptance(context, context.plan("lighter")) == 0.5
    assert first_acceptance(PolicyContext(TARGET, None, "greedy", None), OTHER) == BUILTIN_ACCEPTANCE
    sure, unsure = (
        max(drafted(StaticTree.build(context, drafter=name, n_nodes=12), PROMPT).depths)
        for name in ("light", "lighter")
    )
    assert sure > unsure
