"""Bounds of replay: on recordings made by hand, and against policies that draft from the same menu."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.autoregressive import Autoregressive
from casspec.runtime.policies.base import Policy
from casspec.runtime.policies.layer_sparse import LayerSparse
from casspec.storage.schema import SkipSet
from casspec.tuner.recordings.offline_acceptance import PlanTrace
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.replay.bounds import Menu, clairvoyant_ms, menu_bound_ms, path_lengths, retrieved_trees
from casspec.tuner.replay.recorded_sequence import Drafting
from casspec.tuner.replay.simulate import replay

VOCAB = 20
PLAN = Plan.skipping(SkipSet(attention=(1,)), 4, "sparse")


def recording(prompt: list[int], text: list[int], seed: int = 0) -> Recording:
    """Greedy; what follows the tokens of the text is known, and nothing else is."""
    tokens = [*prompt, *text]
    following = np.array([*tokens[1:], 0], np.int32)
    ids = np.stack((following, (following + 1) % VOCAB), 1)
    logits = np.tile(np.array([3.0, 0.0], np.float32), (len(tokens), 1))
    arrays = np.array(prompt, np.int32), np.array(text, np.int32), ids, logits
    return Recording("p", "task", "greedy", seed, 0.0, *arrays)


def traced(one: Recording, right: list[bool]) -> TracedPlan:
    """A plan that is right at these places."""
    truth = one.continuation_tokens
    first = np.where(right, truth, (truth + 3) % VOCAB).astype(np.int32)
    ids = np.stack((first, (truth + 5) % VOCAB), 1).astype(np.int32)
    gaps = np.tile(np.array([1.0, -1.0], np.float32), (len(truth), 1))
    return TracedPlan({("p", "greedy"): PlanTrace(ids, gaps, truth, np.ones(len(truth), np.int16))})


def verify_ms(n_tokens: int, context: int, node: float = 1.0) -> float:
    return 10.0 + node * (n_tokens - 1)


def menu(plans: list[tuple[Plan, TracedPlan]], draft_ms: float = 2.0, node: float = 1.0, max_nodes: int = 8) -> Menu:
    return Menu(VOCAB, partial(verify_ms, node=node), lambda plan, n, context: draft_ms, plans, max_nodes=max_nodes)


NEW = list(range(10, 16))
"""Six tokens none of which follows what it followed before: retrieval has nothing right to offer."""


def test_without_drafters_every_token_costs_a_step() -> None:
    one = recording([1, 2], NEW)
    assert menu_bound_ms(one, menu([])) == pytest.approx(6 * 10.0)


def test_a_plan_that_is_always_right_drafts_to_the_end_at_once() -> None:
    one = recording([1, 2], NEW)
    bound = menu_bound_ms(one, menu([(PLAN, traced(one, [True] * 6))]))
    assert bound == pytest.approx(10.0 + 5 * (1.0 + 2.0)), "five tokens, five forwards, one verification, the bonus"


def test_a_plan_dearer_than_the_target_is_left_alone() -> None:
    one = recording([1, 2], NEW)
    assert menu_bound_ms(one, menu([(PLAN, traced(one, [True] * 6))], draft_ms=20.0)) == pytest.approx(60.0)


def test_a_chain_ends_before_its_first_wrong_token() -> None:
    one = recording([1, 2], NEW)
    bound = menu_bound_ms(one, menu([(PLAN, traced(one, [True, True, False, True, True, True]))]))
    # Two tokens and the bonus behind them, where the plan is wrong, then two tokens and the last bonus.
    assert bound == pytest.approx(2 * (10.0 + 2 * 3.0))


def test_a_repeated_text_is_retrieved_and_every_retrieved_node_paid_for() -> None:
    one = recording([3, 4, 5, 6, 7, 8, 9, 3], [4, 5, 6, 7])
    (tree, *_) = retrieved_trees(one, menu([]))
    lengths = path_lengths(tree, one, 0)
    size = next(size for size, accepted in enumerate(lengths, start=1) if accepted == 3)
    assert menu_bound_ms(one, menu([])) == pytest.approx(10.0 + (size - 1))
    assert clairvoyant_ms(one, menu([])) == pytest.approx(10.0 + 3)


def test_a_review_adds_the_plans_token_behind_what_was_retrieved() -> None:
    one = recording([3, 4, 5, 6, 7, 3], [4, 5, 12, 13])
    plan = traced(one, [False, False, True, False])
    alone, reviewed = menu_bound_ms(one, menu([])), menu_bound_ms(one, menu([(PLAN, plan)]))
    assert reviewed < alone
    assert alone - reviewed == pytest.approx(10.0 - 2.0 - 1.0), "a verification less, a forward and a node more"


class RetrievedTree(Policy):
    """Verifies the menu's own retrieved tree of so many nodes at every root."""

    def __init__(self, one: Recording, offered: Menu, n_nodes: int) -> None:
        self._trees = list(retrieved_trees(one, offered))
        self._first, self._n_nodes = len(one.prompt_tokens), n_nodes

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree = self._trees[len(sequence.tokens) - self._first]
        return tree.selected(list(range(min(self._n_nodes, len(tree)))))


texts = st.lists(st.integers(0, 5), min_size=2, max_size=24)


@settings(max_examples=30, deadline=None)
@given(
    prompt=texts,
    text=texts,
    seed=st.integers(0, 2**16),
    draft_ms=st.floats(0.1, 12.0),
    node=st.floats(0.0, 4.0),
    k=st.integers(1, 7),
)
def test_no_policy_of_the_menu_is_faster_than_its_bound(prompt, text, seed, draft_ms, node, k) -> None:
    one = recording(prompt, text)
    right = np.random.default_rng(seed).random(len(text)) < 0.7
    plan = traced(one, right.tolist())
    offered = menu([(PLAN, plan)], draft_ms, node)
    bound, clairvoyant = menu_bound_ms(one, offered), clairvoyant_ms(one, offered)
    policies = [Autoregressive(), LayerSparse(PLAN, k), RetrievedTree(one, offered, k + 1)]
    for policy in policies:
        said = Drafting(lambda asked: plan, offered.draft_ms)
        replayed = replay(policy, [one], VOCAB, offered.verify_cost, drafting=said)
        assert bound <= replayed.method_ms + 1e-9
    assert clairvoyant <= bound + 1e-9


@settings(max_examples=15, deadline=None)
@given(text=texts, seed=st.integers(0, 2**16))
def test_a_richer_menu_is_never_slower(text, seed) -> None:
    one = recording([1, 2, 3], text)
    right = np.random.default_rng(seed).random(len(text)) < 0.5
    small, large = menu([], max_nodes=4), menu([], max_nodes=8)
    with_plan = dataclasses.replace(large, plans=[(PLAN, traced(one, right.tolist()))])
    bounds = [menu_bound_ms(one, offered) for offered in (small, large, with_plan)]
    assert bounds == sorted(bounds, reverse=True)
