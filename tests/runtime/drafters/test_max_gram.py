"""The longest earlier copy, against a search written the slow way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.drafters.max_gram import MaxGram
from tests.runtime.drafts import TARGET, slow_max_gram
from tests.runtime.tiny import cold_matrix

pytestmark = pytest.mark.usefixtures("without_gradients")
texts = st.lists(st.integers(0, 3), min_size=1, max_size=40)


@given(texts, st.lists(st.integers(0, 4), max_size=6), st.data(), st.integers(0, 12), st.booleans())
def test_max_gram_copies_after_the_longest_suffix_that_occurred_before(text, path, data, n_tokens, recorded) -> None:
    matrix = cold_matrix(TARGET) if recorded else None
    drafter, cut = MaxGram(matrix), data.draw(st.integers(0, len(text)))
    drafter.begin(text[:cut])
    drafter.extend(text[cut:])
    assert drafter.propose(path, n_tokens) == slow_max_gram(text, path, n_tokens, matrix)


def test_max_gram_forgets_the_text_before() -> None:
    drafter = MaxGram()
    drafter.begin([1, 2, 3, 1, 2])
    assert drafter.propose([], 3) == [3, 1, 2]
    drafter.begin([4, 5, 1, 2])
    assert drafter.propose([], 3) == []
