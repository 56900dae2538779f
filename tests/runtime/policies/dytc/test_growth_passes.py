"""The compiled passes grow the trees that the plain version grows, and learn what it learns."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casspec.runtime.decoding.acceptance import AcceptanceTable, retrieval_prior_means
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sequence import MAX_TREE_NODES
from casspec.runtime.drafters.mean_recycling import MeanRecycling
from casspec.runtime.drafters.retrieval import Retrieval
from casspec.runtime.drafters.token_recycling import RecyclingMatrix
from casspec.runtime.policies.dytc.costs import CostCurve
from casspec.runtime.policies.dytc.tree_growth import GrowthArrays, TreeGrowth
from tests.runtime.policies.dytc.plain_growth import PlainGrowth, PlainRecycling, PlainRetrieval

VOCAB, WIDTH, STEPS, ROUNDS = 14, 5, 4, 3
BUCKETS = [1, 2, 4, 6, 8, 12, 16, 24]


def some_row(rng: random.Random) -> tuple[list[int], list[float]]:
    logits = sorted((rng.choice([0.0, 1.0, rng.uniform(-3, 6)]) for _ in range(WIDTH)), reverse=True)
    return rng.sample(range(VOCAB), WIDTH), [float(np.float32(value)) for value in logits]


def some_matrix(rng: random.Random) -> RecyclingMatrix:
    matrix = RecyclingMatrix.empty(VOCAB)
    for token in rng.sample(range(VOCAB), VOCAB // 2):
        matrix.token_ids[token] = rng.sample(range(VOCAB), matrix.token_ids.shape[1])
        matrix.logits[token] = sorted((rng.uniform(-3, 6) for _ in matrix.logits[token]), reverse=True)
    return matrix


def assert_same(compiled: TreeGrowth, plain: PlainGrowth) -> None:
    for column in "tokens", "parents", "depths", "drafters":
        assert getattr(compiled.tree, column) == getattr(plain.tree, column)
    for column in "masses", "chances", "gain", "open_mass":
        assert getattr(compiled, column) == pytest.approx(getattr(plain, column))
    assert compiled.live() == plain.live()
    for node in range(len(plain.tree)):
        assert list(map(tuple, compiled.offered(node))) == plain.offered.get(node, [])


@settings(max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    text=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=60),
    max_ngram=st.integers(0, 5),
    branch=st.integers(0, 6),
    at_leaves=st.booleans(),
    with_matrix=st.booleans(),
    temperature=st.sampled_from([0.0, 0.7, 1.3]),
    min_mass=st.sampled_from([0.001, 0.02, 0.1]),
)
def test_trees_are_those_of_the_plain_version(
    seed: int,
    text: list[int],
    max_ngram: int,
    branch: int,
    at_leaves: bool,
    with_matrix: bool,
    temperature: float,
    min_mass: float,
) -> None:
    rng = random.Random(seed)
    matrix = some_matrix(rng) if with_matrix else None
    tables = [AcceptanceTable("retrieval", retrieval_prior_means()) for _ in range(2)]
    one = Retrieval(tables[0], MeanRecycling(matrix), max_ngram, branch, at_leaves)
    other = PlainRetrieval(tables[1], PlainRecycling(matrix), max_ngram, branch, at_leaves)
    rows = [some_row(rng) for _ in text[:-1]]
    prompt_top = [ids for ids, _ in rows], [logits for _, logits in rows]
    one.begin(text, prompt_top)
    other.begin(text, prompt_top)
    noise, arrays = None if temperature == 0 else GumbelNoise(seed, VOCAB), GrowthArrays(branch)
    for _ in range(STEPS):
        depth, position, slope = rng.randrange(8), len(text), rng.choice([0.0, 0.02, 0.2])
        inverse = 1 / (temperature or 1.0)

        def noise_rows(count: int, position: int = position):
            return None if noise is None else noise.host_rows(position, count)

        first_noise = noise_rows(1)
        compiled = TreeGrowth(text[-1], one, depth, min_mass, first_noise and first_noise[0], inverse, arrays)
        suffix = tuple(text[len(text) - min(max_ngram, len(text)) :])
        plain = PlainGrowth(text[-1], suffix, other, depth, min_mass, noise_rows, inverse)
        assert_same(compiled, plain)
        first = 0
        for _ in range(ROUNDS):
            curve = CostCurve(BUCKETS, [0.1 + slope * size for size in BUCKETS])
            rows_before = len(plain.tree) - first
            compiled.grow(curve, rows_before)
            plain.grow(curve, rows_before)
            assert_same(compiled, plain)
            asked = [
                node
                for node in range(first, len(plain.tree))
                if plain.tree.depths[node] < depth and plain.masses[node] >= min_mass
            ]
            assert compiled.unreviewed().tolist() == asked
            said, words, right = [], np.full((MAX_TREE_NODES, 2, 2), -1), []
            for node in asked:
                best = rng.uniform(0.1, 0.98)
                said.append(list(zip(rng.sample(range(VOCAB), 2), (best, (1 - best) * rng.random()), strict=True)))
                for rank, (token, chance) in enumerate(said[-1]):
                    words[node, rank] = token, len(right)
                    right.append(chance)
            if not asked:
                break
            compiled.review(np.array(asked), words, np.array(right), "plan")
            plain.review(asked, said, "plan")
            assert_same(compiled, plain)
            first = len(plain.tree)
        assert compiled.best(curve) == plain.best(curve)
        emitted = [rng.randrange(VOCAB) for _ in range(rng.randrange(1, 5))]
        visited, learned = [text[-1], *emitted[:-1]], [some_row(rng) for _ in emitted]
        for cell in range(0, 200, 9):
            accepted = rng.random() < 0.5
            for table in tables:
                table.update(cell, accepted)
        ids, logits = [ids for ids, _ in learned], [logits for _, logits in learned]
        one.extend(emitted, np.array(ids), np.array(logits, np.float32))
        other.extend(emitted, visited, ids, logits)
        text = text + emitted
        assert [one._recycling.row(token) for token in range(VOCAB)] == [
            None if row is None else (row[0], pytest.approx(row[1])) for row in map(other._recycling.row, range(VOCAB))
        ]
