"""Passages from the interpreter's own documentation, cut at paragraphs."""

from __future__ import annotations

import sys

import pytest

from casspec.tuner.suites.chat import passages

THREE = "one two three\n\nfour five\n\n   six = 7"


@pytest.mark.parametrize(
    ("most_words", "kept"),
    [(100, THREE), (8, THREE), (7, "one two three\n\nfour five"), (4, "one two three"), (1, "one two three")],
)
def test_a_text_is_cut_behind_the_last_paragraph_that_fits_but_keeps_the_first(most_words: int, kept: str) -> None:
    assert passages.opening(f"\n{THREE}\n", most_words) == kept


def test_a_page_that_the_documentation_lacks_is_none() -> None:
    assert passages.passage("no-such-topic") is None


def test_an_interpreter_without_documentation_has_no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    passages._topics.cache_clear()
    try:
        assert passages.passage("for") is None
    finally:
        passages._topics.cache_clear()
