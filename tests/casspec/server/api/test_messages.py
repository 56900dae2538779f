"""A conversation reaches the template whole, or is refused where it makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from casspec.server.api.messages import Message, for_template, plain_text
from casspec.server.errors import ApiError

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": [1]}'}}


def read(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return for_template([Message.model_validate(message) for message in messages])


def test_templates_get_text_names_and_calls() -> None:
    assert read(
        {"role": "developer", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None, "annotations": []},
        {"role": "tool", "content": "3", "tool_call_id": "c"},
    ) == [
        {"role": "system", "content": "x"},
        {"role": "user", "content": "ab", "name": "ann"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": {"a": [1]}}}],
        },
        {"role": "tool", "content": "3", "tool_call_id": "c"},
    ]
    assert plain_text(None) == ""


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{"role": "user", "content": "x"}, {"role": "assistant"}], "messages.1.content"),
        ([{"role": "user", "content": "x", "tool_calls": [CALL]}], "messages.0.tool_calls"),
        ([{"role": "assistant", "content": "x", "tool_call_id": "c"}], "messages.0.tool_call_id"),
        ([{"role": "assistant", "content": "x", "annotations": [{}]}], "messages.0.annotations"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{"}}]}],
            "messages.0.tool_calls.0.function.arguments",
        ),
    ],
)
def test_what_no_template_can_take_is_refused(messages: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(ApiError) as refusal:
        read(*messages)
    assert refusal.value.param == param
