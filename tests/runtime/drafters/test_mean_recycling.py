"""Rows that are means: of the text, of the matrix, of everything."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.successors import TOP_SUCCESSORS, SuccessorRow
from casspec.runtime.drafters.mean_recycling import MeanRecycling
from casspec.runtime.drafters.retrieval_passes import KEPT, MATRIX_ROWS
from casspec.runtime.drafters.token_recycling import RecyclingMatrix

VOCAB = 24


def a_matrix(seen: list[int], seed: int = 0) -> RecyclingMatrix:
    rng, matrix = np.random.default_rng(seed), RecyclingMatrix.empty(VOCAB)
    for token in seen:
        matrix.token_ids[token] = rng.permutation(VOCAB)[:TOP_SUCCESSORS]
        matrix.logits[token] = np.sort(rng.normal(0, 3, TOP_SUCCESSORS))[::-1]
    return matrix


def refresh(recycling: MeanRecycling, tokens: list[int], ids: list[list[int]], logits: list[list[float]]) -> None:
    recycling.refresh(np.array(tokens), np.array(ids), np.array(logits, np.float32))


def probabilities(ids: list[int], logits: list[float]) -> np.ndarray:
    dense = np.zeros(VOCAB)
    dense[ids] = np.exp(np.array(logits) - max(logits))
    return dense / dense.sum()


def assert_lists(row: SuccessorRow | None, expected: np.ndarray, width: int) -> None:
    """That `row` has the largest of `expected` [VOCAB], in order, as logarithms up to a constant."""
    assert row is not None
    ids, logits = row
    assert len(ids) == len(set(ids)) == min(width, np.count_nonzero(expected))
    assert logits == sorted(logits, reverse=True)
    assert expected[ids] == pytest.approx(np.sort(expected)[::-1][: len(ids)])
    assert np.diff(logits) == pytest.approx(np.diff(np.log(expected[ids])), abs=1e-6)


said = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=12)


@given(said, st.sets(st.integers(0, 3)))
def test_a_row_is_the_mean_of_what_the_text_and_the_matrix_say(said: list[tuple[int, int]], seen: set[int]) -> None:
    matrix = a_matrix(sorted(seen))
    recycling = MeanRecycling(matrix)
    sums = np.zeros((4, VOCAB))
    for token in seen:
        sums[token] = probabilities(matrix.token_ids[token].tolist(), matrix.logits[token].tolist()) * MATRIX_ROWS
    for token, seed in said:
        rng = np.random.default_rng(seed)
        ids, logits = (
            rng.permutation(VOCAB)[:TOP_SUCCESSORS].tolist(),
            np.sort(rng.normal(0, 3, TOP_SUCCESSORS).astype(np.float32))[::-1].tolist(),
        )
        refresh(recycling, [token], [ids], [logits])
        recycling.row(token)  # what was asked for before must not stand
        sums[token] += probabilities(ids, logits)
    for token in {token for token, _ in said}:
        assert_lists(recycling.row(token), sums[token], KEPT)
    recycling.begin()
    for token in seen:
        assert recycling.row(token) == (matrix.token_ids[token].tolist(), matrix.logits[token].tolist())


def test_a_token_never_seen_has_the_mean_over_all_tokens() -> None:
    matrix = a_matrix([2, 3, 5])
    mean = sum(probabilities(matrix.token_ids[token].tolist(), matrix.logits[token].tolist()) for token in (2, 3, 5))
    assert_lists(MeanRecycling(matrix).row(7), mean, TOP_SUCCESSORS)
    assert MeanRecycling(RecyclingMatrix.empty(VOCAB)).row(7) is None
    assert MeanRecycling().row(7) is None


def test_a_mean_row_holds_logarithms_of_probabilities() -> None:
    recycling = MeanRecycling()
    refresh(recycling, [1, 1], [[2, 3], [2, 4]], [[1.0, 1.0], [0.0, 0.0]])
    ids, logits = recycling.row(1) or ([], [])
    assert ids[0] == 2
    assert logits[0] - logits[1] == pytest.approx(math.log(2))


def test_a_successor_that_is_as_good_as_impossible_has_a_finite_score() -> None:
    recycling = MeanRecycling()
    refresh(recycling, [1], [[2, 3]], [[0.0, -1e4]])
    ids, logits = recycling.row(1) or ([], [])
    assert ids == [2, 3]
    assert all(map(math.isfinite, logits))
