"""Formats that are read between two tags."""

from __future__ import annotations

import json

import pytest

from casspec.server.tool_calls.tagged_formats import MOST_PYTHON, python_calls
from tests.casspec.server.tool_calls.samples import SAMPLES, TOOLS, read


def arguments(name: str) -> list[object]:
    return [json.loads(call.arguments) for _, call in read(name, SAMPLES[name]).calls]


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
