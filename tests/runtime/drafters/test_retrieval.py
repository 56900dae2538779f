"""What retrieval offers after a match, and when it falls back on means."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.acceptance import AcceptanceTable, retrieval_prior_means
from casspec.runtime.decoding.noise import NoiseRow
from casspec.runtime.drafters.mean_recycling import MeanRecycling
from casspec.runtime.drafters.retrieval import Retrieval


def test_one_matching_token_offers_the_mean_and_a_longer_match_its_place() -> None:
    retrieval = Retrieval(AcceptanceTable("retrieval", retrieval_prior_means()), MeanRecycling(), 4, 1)
    # After 1 the target says 2 twice, then 3 once, surely each time; 4 1 stood where it said 2.
    text = [4, 1, 9, 1, 8, 1, 7]
    says = {1: 2, 3: 2, 5: 3}
    rows = [[says.get(place, 11), 12] for place in range(len(text) - 1)]
    retrieval.begin(text, (rows, [[5.0, 0.0]] * len(rows)))
    for suffix, best in (((6, 6, 6, 1), 2), ((6, 8, 1), 3), ((6, 4, 1), 2)):
        offered = retrieval.offer(1, retrieval.match(suffix), None, 1.0)
        assert offered[0][0] == best


def noise_that(prefers: int, over: list[int], by: float) -> NoiseRow:
    """The first noise that gives one token so much more than the others."""
    rows = (NoiseRow(np.uint64(key), 3) for key in range(100_000))
    return next(row for row in rows if row[prefers] > by + max(row[token] for token in over))


def retrieval_over(text: list[int], branch: int = 4, max_ngram: int = 4, at_leaves: bool = True) -> Retrieval:
    """After every token of the text the target says 11, then 12, then 13."""
    table = AcceptanceTable("retrieval", retrieval_prior_means())
    retrieval = Retrieval(table, MeanRecycling(), max_ngram, branch, at_leaves)
    n = len(text) - 1
    retrieval.begin(text, ([[11, 12, 13]] * n, [[5.0, 1.0, 0.0]] * n))
    return retrieval


def test_the_match_of_the_root_is_measured_beyond_the_index() -> None:
    retrieval = retrieval_over([9, 1, 2, 3, 4, 5, 6, 8, 1, 2, 3, 4, 5], max_ngram=2)
    assert retrieval.root_match() == (6, 5)
    assert retrieval.match((4, 5)) == (6, 2)


def test_below_the_root_nothing_is_looked_up_where_leaves_are_not() -> None:
    text = [1, 2, 3, 1, 2]
    assert retrieval_over(text).match((1, 2))[1] == 2
    assert retrieval_over(text, at_leaves=False).match((1, 2)) == (0, 0)


@given(st.integers(1, 5), st.lists(st.integers(0, 4), min_size=2, max_size=30), st.booleans())
def test_no_more_than_the_branch_and_the_literal_are_offered_each_once(
    branch: int, text: list[int], noisy: bool
) -> None:
    retrieval = retrieval_over(text, branch)
    match = retrieval.root_match()
    noise = NoiseRow(np.uint64(7), 3) if noisy else None
    offered = [token for token, _ in retrieval.offer(text[-1], match, noise, 1.0)]
    assert len(offered) == len(set(offered)) <= branch + (match[1] > 0)
    if match[1]:
        assert text[match[0]] in offered
    assert all(0 <= cell < len(retrieval.table.estimate) for _, cell in retrieval.offer(text[-1], match, None, 1.0))


def test_noise_decides_which_candidate_comes_first() -> None:
    retrieval = retrieval_over([1, 2, 3, 1, 2])
    noise = noise_that(13, [11, 12], by=5.5)  # 11 leads by 5
    assert next(token for token, _ in retrieval.offer(2, (2, 2), None, 1.0)) == 11
    assert next(token for token, _ in retrieval.offer(2, (2, 2), noise, 1.0)) == 13
    assert next(token for token, _ in retrieval.offer(2, (2, 2), noise, 4.0)) == 11
