"""Retrieval drafters: what they find, against searches written the slow way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.drafters.token_recycling import RecyclingMatrix, TokenRecycling

texts = st.lists(st.integers(0, 3), min_size=1, max_size=40)


def slow_match(
    text: list[int], suffix: list[int], max_ngram: int, min_ngram: int, most_recent: bool
) -> tuple[int, int]:
    for n in range(min(max_ngram, len(suffix)), min_ngram - 1, -1):
        found = [end for end in range(n, len(text)) if text[end - n : end] == suffix[-n:]]
        if found:
            return found[-1 if most_recent else 0], n
    return 0, 0


@given(texts, st.data(), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_prompt_lookup_finds_the_longest_ngram_that_ends_the_text(
    text: list[int], data: st.DataObject, max_ngram: int, min_ngram: int, most_recent: bool
) -> None:
    lookup = PromptLookup(max_ngram, min_ngram, most_recent)
    cut = data.draw(st.integers(1, len(text)))
    lookup.begin(text[:cut])
    lookup.extend(text[cut:])
    expected = slow_match(text, text, max_ngram, min_ngram, most_recent)
    assert lookup.match(text) == expected
    position, length = expected
    assert lookup.propose(text, 4) == (text[position : position + 4] if length else [])


def test_prompt_lookup_forgets_the_text_before() -> None:
    lookup = PromptLookup()
    lookup.begin([1, 2, 3, 1, 2])
    lookup.begin([4, 5, 1, 2])
    assert lookup.propose([1, 2], 3) == []


def test_recycled_rows_are_the_latest_over_those_of_the_profile() -> None:
    matrix = RecyclingMatrix.empty(4)
    matrix.token_ids[1] = np.arange(TOP_SUCCESSORS)
    recycling = TokenRecycling(matrix)
    assert recycling.row(0) is None
    assert recycling.row(1) == (list(range(TOP_SUCCESSORS)), [0.0] * TOP_SUCCESSORS)
    recycling.refresh([1, 0, 1], [[5], [6], [7]], [[1.0], [2.0], [3.0]])
    assert recycling.row(0) == ([6], [2.0])
    assert recycling.row(1) == ([7], [3.0])
    recycling.begin()
    assert recycling.row(0) is None
    assert recycling.row(1) == (list(range(TOP_SUCCESSORS)), [0.0] * TOP_SUCCESSORS)


def test_a_matrix_survives_its_bytes_and_refuses_another_vocabulary() -> None:
    matrix = RecyclingMatrix.empty(5)
    matrix.token_ids[2], matrix.logits[2] = np.arange(TOP_SUCCESSORS), np.linspace(3, -1, TOP_SUCCESSORS)
    copy = RecyclingMatrix.from_bytes(matrix.to_bytes(), 5)
    assert (copy.token_ids == matrix.token_ids).all()
    assert (copy.logits == matrix.logits).all()
    with pytest.raises(ValueError, match="6 tokens"):
        RecyclingMatrix.from_bytes(matrix.to_bytes(), 6)
