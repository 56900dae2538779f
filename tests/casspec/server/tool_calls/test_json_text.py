"""JSON in pieces."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.server.tool_calls.json_text import call_header, call_of, calls_of, end_of_value, json_of, value_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, max_size=3) | st.dictionaries(st.text(), VALUES, max_size=3), st.text())
def test_a_value_ends_where_it_ends_whatever_follows(value: Any, rest: str) -> None:
    text = json.dumps(value, ensure_ascii=False)
    assert end_of_value("x" + text + rest, 1) == 1 + len(text)
    assert all(end_of_value(text[:n], 0) is None for n in range(len(text)))


def test_what_is_no_json_has_no_value() -> None:
    assert value_of("{") is None
    assert value_of("NaN") is None
    assert value_of("[" * 100_000) is None
    assert value_of('{"a": 1}') == {"a": 1}


@pytest.mark.parametrize("value", [3, {}, {"name": 3}, {"name": "a", "arguments": 3}, {"name": "b"}, []])
def test_a_call_has_a_name_of_a_tool_and_an_object(value: Any) -> None:
    assert call_of(value, {"a": {}}) is None
    assert calls_of(value, {"a": {}}) is None


def test_any_name_counts_where_no_tools_are_told() -> None:
    call = call_of({"name": "b", "parameters": {"ü": 1}}, None)
    assert call is not None
    assert (call.name, call.arguments) == ("b", '{"ü": 1}')


@pytest.mark.parametrize("text", ['{"name": "a", "arguments": {"b": 1}}', ' { "name" :"a","parameters":\n{'])
def test_a_call_begins_where_its_arguments_do(text: str) -> None:
    end = text.index("{", text.index(":", text.index('"a"')))
    assert call_header(text, 0, ("a",)) == (end, "a")
    assert all(call_header(text[:n], 0, ("a",)) is None for n in range(end + 1))


@pytest.mark.parametrize(
    "text",
    [
        "3",
        '{"arguments"',
        '{"name": 3',
        '{"name": "b"',
        '{"name": "a", "b"',
        '{"name": "a", "arguments": "',
        '{"name": "\\x"',
    ],
)
def test_another_order_or_name_is_none(text: str) -> None:
    assert call_header(text, 0, ("a",)) == (0, None)


def test_half_a_surrogate_pair_stays_an_escape() -> None:
    assert json_of({"a": "é🌲"}) == '{"a": "é🌲"}'
    json_of({"a": value_of('"\\ud83d"')}).encode()
