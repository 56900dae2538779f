"""The tree a DyTC step grows: masses are probabilities, cuts leave trees, the best size is the best."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decoding.acceptance import AcceptanceTable, retrieval_prior_means
from casspec.runtime.decoding.sequence import MAX_TREE_NODES
from casspec.runtime.drafters.mean_recycling import MeanRecycling
from casspec.runtime.drafters.retrieval import Retrieval
from casspec.runtime.policies.dytc.costs import CostCurve
from casspec.runtime.policies.dytc.tree_growth import TreeGrowth

VOCAB = 12
BUCKETS = [1, 2, 4, 6, 8, 12, 16]


def growth_over(text: list[int], max_depth: int = 6, min_mass: float = 0.01, seed: int = 0) -> TreeGrowth:
    rng = random.Random(seed)
    rows = [rng.sample(range(VOCAB), 4) for _ in text[:-1]]
    logits = [sorted((rng.uniform(0, 6) for _ in range(4)), reverse=True) for _ in text[:-1]]
    retrieval = Retrieval(AcceptanceTable("retrieval", retrieval_prior_means()), MeanRecycling(), 4, 4)
    retrieval.begin(text, (rows, logits))
    return TreeGrowth(text[-1], retrieval, max_depth, min_mass, None, 1.0)


def review(growth: TreeGrowth, nodes: list[int], said: list[list[tuple[int, float]]]) -> None:
    """Takes in (token, chance) after each node."""
    words, right = np.full((MAX_TREE_NODES, 2, 2), -1), []
    for node, proposals in zip(nodes, said, strict=True):
        for rank, (token, chance) in enumerate(proposals):
            words[node, rank] = token, len(right)
            right.append(chance)
    growth.review(np.array(nodes), words, np.array(right), "plan")


def curve(cost: float, slope: float) -> CostCurve:
    return CostCurve(BUCKETS, [cost + slope * size for size in BUCKETS])


def check(growth: TreeGrowth) -> None:
    tree = growth.tree
    children = [0.0] * len(tree)
    for node in range(1, len(tree)):
        parent = tree.parents[node]
        assert growth.masses[node] == pytest.approx(growth.masses[parent] * growth.chances[node])
        assert tree.depths[node] <= growth.max_depth
        children[parent] += growth.chances[node]
    assert all(total <= 1 + 1e-6 for total in children)
    assert growth.gain == pytest.approx(sum(growth.masses[1:]))
    assert growth.open_mass >= 0


texts = st.lists(st.integers(0, VOCAB - 1), min_size=3, max_size=40)


@settings(max_examples=60)
@given(texts, st.integers(0, 1000), st.floats(0.0, 0.3))
def test_rounds_of_growth_and_review_keep_probabilities(text: list[int], seed: int, slope: float) -> None:
    growth, rng, first = growth_over(text, seed=seed), random.Random(seed), 0
    for _ in range(4):
        growth.grow(curve(0.5, slope), len(growth.tree) - first)
        nodes = list(range(first, len(growth.tree)))
        if not nodes:
            break
        said = []
        for _ in nodes:
            best = rng.uniform(0.1, 0.98)
            said.append(list(zip(rng.sample(range(VOCAB), 2), (best, (1 - best) * rng.random()), strict=True)))
        review(growth, nodes, said)
        first = len(growth.tree)
        check(growth)
    chosen = growth.best(curve(0.1, slope))
    assert chosen[0] == 0
    assert all(growth.tree.parents[node] in chosen for node in chosen[1:])
    verified = growth.tree.selected(chosen)
    assert [verified.tokens[i] for i in range(len(chosen))] == [growth.tree.tokens[node] for node in chosen]


@settings(max_examples=60)
@given(texts, st.integers(0, 1000), st.floats(0.0, 0.5))
def test_the_best_size_gains_most_over_its_cost(text: list[int], seed: int, slope: float) -> None:
    growth, priced = growth_over(text, seed=seed), curve(0.1, slope)
    growth.grow(curve(0.0, 0.0), 1)
    ordered = sorted(growth.masses, reverse=True)

    def value(n: int) -> float:
        return sum(ordered[:n]) - priced.of(n)

    best = max(value(n) for n in range(1, min(len(ordered), BUCKETS[-1]) + 1))
    assert math.isclose(value(len(growth.best(priced))), best, abs_tol=1e-9)


def test_free_rows_are_filled_and_dear_ones_are_not() -> None:
    text = [1, 2, 3, 4, 5, 6] * 4 + [1, 2, 3]
    free, dear = growth_over(text), growth_over(text)
    free.grow(curve(1.0, 0.0), 1)
    dear.grow(curve(1.0, 1.0), 1)
    assert len(free.tree) > 6
    assert len(dear.tree) == 1


def test_a_confirmed_token_is_ground_for_more_and_a_refused_one_is_not() -> None:
    text = [1, 2, 3, 4, 5, 6, 7] * 4 + [1, 2, 3]
    growth = growth_over(text)
    growth.grow(CostCurve([1, 2], [0.0, 0.0]), 1)
    assert growth.tree.tokens[1:] == [4]
    before = growth.masses[1]
    review(growth, [0, 1], [[(4, 0.95), (9, 0.01)], [(8, 0.9), (5, 0.02)]])
    assert growth.masses[1] == 0.95 > before
    growth.grow(CostCurve([1, 2, 4], [0.0, 0.0, 0.0]), 0)
    assert growth.tree.child(1, 8) is not None  # the drafter's own token comes before what the text says
    check(growth)
