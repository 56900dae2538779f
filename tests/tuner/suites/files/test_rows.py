"""What makes a text, a task and a name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.tuner.suites.files.rows import (
    NAME_CHARACTERS,
    UnusableRow,
    counted,
    is_name,
    named_task,
    shortened,
    task_of,
    text_of,
)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "no prompt"),
        (3, "prompt is 3; expected a text"),
        (["a"], r"prompt is \['a'\]; expected a text"),
        (" \n\t", "empty prompt"),
        ("", "empty prompt"),
        ("half \ud83d", "half a character"),
    ],
)
def test_what_is_no_text_says_why(value: object, why: str) -> None:
    with pytest.raises(UnusableRow, match=f"^{why}|{why}"):
        text_of(value, "prompt")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_with_something_in_it_is_taken_as_it_is(text: str) -> None:
    if text.strip():
        assert text_of(text, "prompt") == text


@pytest.mark.parametrize("category", ["overall", 3, ["a"], "a\nb", "a" * (NAME_CHARACTERS + 1), "\ud800", True])
def test_a_category_that_names_no_task_is_refused(category: object) -> None:
    with pytest.raises(UnusableRow, match="category is "):
        named_task(category)
    with pytest.raises(UnusableRow):
        task_of({"category": category})


def test_a_row_without_a_category_is_of_the_usual_task() -> None:
    assert [task_of(row) for row in ({}, {"category": None}, {"category": ""})] == ["chat"] * 3
    assert task_of({}, otherwise="completion") == "completion"
    assert task_of({"category": "qa"}) == "qa"


@given(st.text(max_size=2 * NAME_CHARACTERS))
def test_a_name_fits_on_a_line_and_into_any_database(text: str) -> None:
    if is_name(text):
        assert text.encode("utf-8")
        assert "\0" not in text
        assert len(text.splitlines()) == 1
        assert len(text) <= NAME_CHARACTERS


def test_values_are_told_on_a_short_line() -> None:
    assert shortened({"a": "\n" * 100}).count("\n") == 0
    assert len(shortened("a" * 1000)) == 60
    assert (counted(1, "row"), counted(2000, "row")) == ("1 row", "2,000 rows")
