"""Prompt lookup, against a search written the slow way."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.drafters.prompt_lookup import PromptLookup

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
