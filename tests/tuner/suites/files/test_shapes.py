"""A row's shape follows from its fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.tuner.suites.files.rows import NAME_CHARACTERS, UnusableRow
from casspec.tuner.suites.files.shapes import SHAPES, recognised

USER = [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    ("row", "shape", "name", "kind"),
    [
        ({"question_id": 7, "category": "qa", "turns": ["a"]}, "Spec-Bench questions", "7", "chat"),
        ({"messages": USER, "id": "x"}, "OpenAI messages", "x", "chat"),
        ({"custom_id": "r1", "body": {"messages": USER}}, "OpenAI batch requests", "r1", "chat"),
        ({"custom_id": "r1", "body": {"prompt": "a"}}, "OpenAI batch requests", "r1", "text"),
        ({"id": 3, "conversations": [{"from": "human", "value": "a"}]}, "ShareGPT conversations", "3", "chat"),
        ({"prompt": "a"}, "prompt rows", None, "chat"),
        ({"prompt": USER}, "OpenAI messages", None, "chat"),
        ({"prompt": "a", "question_id": 9}, "prompt rows", "9", "chat"),
    ],
)
def test_each_shape_is_recognised(row: dict, shape: str, name: str | None, kind: str) -> None:
    found = recognised(4, row)
    assert (found.row, found.shape, found.request.id, found.request.kind) == (4, shape, name, kind)
    assert found.request.turns == ("a",)


@pytest.mark.parametrize("name", ["a#1", "", "a\nb", "a" * (NAME_CHARACTERS + 1), True, 1.5, ["a"], None, "\0"])
def test_an_id_that_cannot_be_a_name_is_not_taken(name: Any) -> None:
    assert recognised(1, {"prompt": "a", "id": name}).request.id is None


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ([], "got a JSON list; expected an object"),
        (None, "got a JSON NoneType"),
        ({}, "no prompt"),
        ({"text": "a"}, "no prompt"),
        ({"body": "a"}, "no prompt"),
        ({"question_id": 1}, "category is None"),
    ],
)
def test_other_rows_say_why_they_are_none(row: Any, why: str) -> None:
    with pytest.raises(UnusableRow, match=why):
        recognised(1, row)


def test_every_shape_has_rows_that_fit() -> None:
    assert all(shape.name and shape.fits and shape.read for shape in SHAPES)


fields = st.sampled_from(
    ["turns", "messages", "conversations", "prompt", "question_id", "category", "body", "id", "role", "content"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("user"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_any_value_is_a_request_or_says_in_a_few_words_why_not(value: Any) -> None:
    try:
        request = recognised(1, value).request
    except UnusableRow as refused:
        why = str(refused)
        assert 0 < len(why) < 200
        assert "\n" not in why
        return
    assert request.turns
    assert all(isinstance(turn, str) and turn for turn in request.turns)
    assert len(request.answers) in (0, len(request.turns) - 1)
