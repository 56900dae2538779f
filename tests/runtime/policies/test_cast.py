"""CAST: how far each rule lets a tree grow at given costs."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.model.forward_input import QUERY_BUCKETS
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import evenly_sparse
from casspec.runtime.policies.cast import Cast, affordable
from casspec.runtime.text.sampling import Sampling
from tests.runtime.tiny import repetitive_prompt, tiny_target

confidences = st.lists(st.floats(0, 1), max_size=40).map(lambda values: sorted(values, reverse=True))


@given(confidences, st.floats(0.001, 1), st.floats(0.01, 3))
def test_each_bucket_kept_is_worth_its_cost_and_the_next_is_not(
    masses: list[float], slope: float, threshold: float
) -> None:
    kept = affordable(masses, lambda k: slope * k**1.5, threshold)
    sizes = [size for size in QUERY_BUCKETS if size < len(masses)] + [len(masses)]
    assert kept in sizes

    def pays(smaller: int, size: int) -> bool:
        cost = slope * (next(b for b in QUERY_BUCKETS if b >= size) ** 1.5 - smaller**1.5)
        return sum(masses[smaller:size]) > threshold * cost

    steps = list(pairwise(sizes))
    assert all(pays(*step) for step in steps if step[1] <= kept)
    assert not any(pays(*step) for step in steps if step[0] == kept)


@torch.inference_mode()
def drafted(draft_ms: float, row_ms: float, max_depth: int = 20, **parameters: float) -> CandidateTree:
    """The tree of a request's first step, when the target takes 1 ms and `row_ms` for each further row."""
    target = tiny_target(seed=7)
    plan = evenly_sparse(target.n_layers, 0.5)

    def forward_ms(of: Plan, n_tokens: int, context: int) -> float:
        return draft_ms if of is plan else 1 + row_ms * (n_tokens - 1)

    policy = Cast(plan, target.full_plan, forward_ms, **parameters)
    prompt = repetitive_prompt(30)
    sequence = Sequence(target, target.new_cache(256), prompt, Sampling(0.0), None, ForwardClock(target.device))
    policy.begin(sequence)
    return policy.draft(sequence, max_depth)


def test_free_forwards_fill_the_tree() -> None:
    tree = drafted(0.0, 0.0, max_nodes=40, max_depth=5)
    assert len(tree) == 40
    assert max(tree.depths) > 1


def test_dear_rows_leave_only_the_root() -> None:
    assert len(drafted(0.0, 10.0)) == 1


def test_a_dear_drafter_drafts_one_layer() -> None:
    assert max(drafted(5.0, 0.0).depths) == 1


@pytest.mark.parametrize("max_depth", [0, 1, 3])
def test_no_node_lies_deeper_than_allowed(max_depth: int) -> None:
    assert max(drafted(0.0, 0.0, max_depth).depths) == max_depth


def test_the_most_confident_nodes_are_verified() -> None:
    larger, smaller = (drafted(0.0, 0.0, max_nodes=n) for n in (40, 12))
    kept = {tuple(smaller.path_tokens(node)): smaller.probabilities[node] for node in range(len(smaller))}
    all_of = {tuple(larger.path_tokens(node)): larger.probabilities[node] for node in range(len(larger))}
    assert min(kept.values()) > 0
    assert sum(value > min(kept.values()) for value in all_of.values()) <= len(kept)
