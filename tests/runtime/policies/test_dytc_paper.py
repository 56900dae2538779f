"""DyTC as published: its objective, its estimates, and the tree they grow."""

from __future__ import annotations

from typing import Any

import pytest

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import PolicyContext
from casspec.runtime.policies.dytc_paper import LOOKUP_COST, Acceptance, DyTCPaper, walltime_gain
from tests.runtime.drafts import OTHER, PLAN, TARGET, drafted, own_tokens, sequence_of
from tests.runtime.tiny import VOCAB, repetitive_prompt, tiny_profile

pytestmark = pytest.mark.usefixtures("without_gradients")


def test_the_published_objective_prefers_prompt_lookup_by_far() -> None:
    """At an acceptance of .3 its one token is worth twelve times the best block of a layer-sparse plan."""
    assert walltime_gain(0.3, LOOKUP_COST, 1, 0.3, LOOKUP_COST) == pytest.approx(19.5)
    assert max(walltime_gain(0.7, 0.55, k, 0.3, LOOKUP_COST) for k in range(1, 6)) == pytest.approx(1.625)
    assert walltime_gain(0.5, 0.2, 3, 0.4, 0.1) == pytest.approx((0.5 + 0.25 + 0.125 + 0.125 * 0.4) / 0.7)


def test_acceptance_follows_the_last_twenty_outcomes_from_the_prior() -> None:
    acceptance = Acceptance(0.5)
    acceptance.observe(True)
    assert acceptance.value == pytest.approx(0.7 * 0.5 + 0.3)
    for _ in range(30):
        acceptance.observe(False)
    assert acceptance.value < 0.05
    for _ in range(60):
        acceptance.observe(True)
    assert acceptance.value == pytest.approx(1.0, abs=1e-6)
    acceptance.reset()
    assert acceptance.value == 0.5


def paper(costs: dict[str, float], acceptance: float = 0.7, **parameters: Any) -> DyTCPaper:
    def forward_ms(plan: Plan, n_tokens: int, context: int) -> float:
        return costs.get(plan.name, 1.0)

    return DyTCPaper(TARGET.full_plan, [(PLAN, acceptance), (OTHER, acceptance / 2)], forward_ms, **parameters)


UNREPEATED = [3, 1, 4, 15, 9, 2, 6, 5, 30]


@pytest.mark.parametrize(
    ("named", "profiled", "plans"),
    [
        ({}, True, ["light", "lighter"]),
        ({"drafter": "lighter"}, True, ["lighter", "even-0.6"]),
        ({"drafter": "lighter", "second": "light"}, True, ["lighter", "light"]),
        ({}, False, ["even-0.4", "even-0.6"]),
    ],
)
def test_the_published_tree_drafts_with_two_plans(named: dict[str, str], profiled: bool, plans: list[str]) -> None:
    profile = tiny_profile(TARGET).document if profiled else None
    policy = DyTCPaper.build(PolicyContext(TARGET, profile, "greedy", None), **named)
    drafters = [entry.drafter.name for entry in policy._configurations if entry.drafter and not entry.reviews]
    assert drafters == plans
    reviewing = [entry.drafter.name for entry in policy._configurations if entry.drafter and entry.reviews]
    assert reviewing == plans


def test_where_prompt_lookup_has_nothing_the_next_configuration_drafts() -> None:
    """A review of nothing costs as much as the plan's own token here, and leaves more when there is something."""
    tree = drafted(paper({"light": 0.5, "lighter": 0.6}), UNREPEATED)
    assert tree.drafters[1] == "light"
    assert tree.tokens[tree.children(0)[0]] == own_tokens(sequence_of(UNREPEATED), [], 1)[0]
    assert "lighter" not in tree.drafters
    repeated = drafted(paper({"light": 0.5, "lighter": 0.6}), repetitive_prompt(60))
    assert repeated.drafters[1] == "prompt-lookup"


def test_every_node_of_the_published_tree_carries_the_product_of_acceptances_above_it() -> None:
    tree = drafted(paper({"light": 0.2, "lighter": 0.2}, top_p=1.0), UNREPEATED)
    assert len(tree) == 1 + 64
    by_drafter = {"light": 0.7, "prompt-lookup": 0.5}
    for node in range(1, len(tree)):
        above = tree.probabilities[tree.parents[node]]
        assert tree.probabilities[node] == pytest.approx(above * by_drafter[tree.drafters[node]])


def test_the_published_tree_ends_where_a_copied_token_no_longer_pays() -> None:
    tree = drafted(paper({}, t_min=40.0), repetitive_prompt(60))
    expanded = [node for node in range(len(tree)) if tree.children(node)]
    assert expanded == [0]  # .5 / .01 = 50 at the root, 25 below it
    assert len(drafted(paper({}, t_min=60.0), repetitive_prompt(60))) == 1


def test_siblings_are_drafted_in_one_forward_each_under_its_own_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = paper({"light": 0.2, "lighter": 0.9}, top_p=1.0, max_block=1, max_nodes=12)
    asked: list[list[int]] = []
    propose = Sequence.propose

    def counted(self: Sequence, plan: Plan, tree: CandidateTree, nodes: list[int], *rest: Any) -> Any:
        asked.append(nodes)
        return propose(self, plan, tree, nodes, *rest)

    monkeypatch.setattr(policy._lookup, "propose", lambda suffix, n_tokens: [])
    monkeypatch.setattr(Sequence, "propose", counted)
    tree = drafted(policy, UNREPEATED)
    assert asked[:2] == [[0], [1, 2, 3]]
    for lane in (1, 2, 3):
        assert len(tree.children(lane)) == 3
        assert tree.tokens[tree.children(lane)[0]] == own_tokens(sequence_of(UNREPEATED), [tree.tokens[lane]], 1)[0]


@pytest.mark.parametrize("n_right", [0, 1, 2])
def test_a_plan_reviews_prompt_lookup_under_every_lane(monkeypatch: pytest.MonkeyPatch, n_right: int) -> None:
    """Each lane is handed tokens of which the first are right: those stand, and every node's first child is the plan's own."""
    policy = paper({}, top_p=1.0, t_min=0.0)
    reviewing = policy._configurations[2]
    assert reviewing.reviews

    def partly_right(growth: Any, node: int, n_tokens: int) -> list[int]:
        own = own_tokens(sequence_of(UNREPEATED), growth.tree.path_tokens(node)[1:], 4)
        return [*own[:n_right], (own[n_right] + 1) % VOCAB, *own[n_right + 1 :]][:n_tokens]

    monkeypatch.setattr(policy, "_ranked_blocks", lambda context: [(reviewing, 4)])
    monkeypatch.setattr(policy, "_continuation", partly_right)
    tree = drafted(policy, UNREPEATED)
    assert len(tree) == 1 + 64
    assert ("prompt-lookup" in tree.drafters) == (n_right > 0)
    for node in range(len(tree)):
        if tree.children(node):
            own = own_tokens(sequence_of(UNREPEATED), tree.path_tokens(node)[1:], 1)[0]
            assert tree.tokens[tree.children(node)[0]] == own
