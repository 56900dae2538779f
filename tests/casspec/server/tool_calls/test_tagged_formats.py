"""Formats of tags, and of Python."""

from __future__ import annotations

import json

import pytest

from casspec.server.tool_calls.tagged_formats import MOST_PYTHON, argument_tags, function_tags, python_calls
from tests.casspec.server.tool_calls.samples import SAMPLES, TOOLS, read


def arguments(name: str) -> list[object]:
    return [json.loads(call.arguments) for _, call in read(name, SAMPLES[name]).calls]


def test_values_take_the_types_that_schemas_name() -> None:
    assert arguments("qwen3-coder") == [{"city": "Paris\nFrance", "n": 3}, {"k": ["a"]}]
    assert arguments("glm") == [{"city": "12", "n": 3}, {}]


def test_python_is_read_with_the_constants_of_json() -> None:
    assert arguments("olmo") == [{"city": "Paris", "n": 3}, {"x": [True, None], "y": {"a": 1.5}}]


@pytest.mark.parametrize(
    "text",
    [
        "get(",
        "get('Paris')",
        "get(**{})",
        "get(city=open('x'))",
        "get(city=1j)",
        "x = 3",
        "get",
        "get(n=" + "[" * 5000 + "]" * 5000 + ")",
        "get(city='" + "a" * MOST_PYTHON + "')",
    ],
)
def test_python_that_is_no_plain_call_is_none(text: str) -> None:
    assert python_calls(text, TOOLS) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "get",
        "<function=get>",
        "<function=get>text</function>",
        "<function=other></function>",
        "<function=></function>",
    ],
)
def test_tags_that_hold_no_call_are_none(text: str) -> None:
    assert function_tags(text, TOOLS) is None


@pytest.mark.parametrize(
    "text", ["", "other", "get<arg_key>a</arg_key>", "get\n<arg_key>a</arg_key>x<arg_value>1</arg_value>"]
)
def test_pairs_that_hold_no_call_are_none(text: str) -> None:
    assert argument_tags(text, TOOLS) is None


def test_null_and_text_are_told_apart() -> None:
    (call,) = (
        argument_tags(
            "put<arg_key>a</arg_key><arg_value>null</arg_value><arg_key>b</arg_key><arg_value>no</arg_value>", TOOLS
        )
        or []
    )
    assert json.loads(call.arguments) == {"a": None, "b": "no"}
