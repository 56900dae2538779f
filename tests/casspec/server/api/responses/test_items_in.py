"""Input of responses as chat templates take it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from casspec.server.api.responses.items_in import InputItem, input_messages
from casspec.server.errors import ApiError

CALL = {"type": "function_call", "call_id": "c1", "name": "get", "arguments": '{"n": 1}'}
CALLED = {"id": "c1", "type": "function", "function": {"name": "get", "arguments": {"n": 1}}}


def items(*given: dict[str, Any]) -> list[InputItem]:
    return TypeAdapter(list[InputItem]).validate_python(list(given))


def test_a_text_is_a_users_message_after_the_instructions() -> None:
    assert input_messages("hi", None) == [{"role": "user", "content": "hi"}]
    assert input_messages("hi", "be brief")[0] == {"role": "system", "content": "be brief"}


def test_calls_in_a_row_and_what_was_said_and_thought_before_them_are_one_message() -> None:
    given = items(
        {"role": "user", "content": [{"type": "input_text", "text": "two trees"}]},
        {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        CALL,
        {**CALL, "call_id": "c2", "id": "fc", "status": "completed"},
        {"type": "function_call_output", "call_id": "c1", "output": "oak"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "elm"}]},
        CALL,
        {"role": "developer", "content": "be brief"},
    )
    assert input_messages(given, None) == [
        {"role": "user", "content": "two trees"},
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "Hm.",
            "tool_calls": [CALLED, {**CALLED, "id": "c2"}],
        },
        {"role": "tool", "content": "oak", "tool_call_id": "c1", "name": "get"},
        {"role": "tool", "content": "elm", "tool_call_id": "c2", "name": "get"},
        {"role": "assistant", "content": "", "tool_calls": [CALLED]},
        {"role": "system", "content": "be brief"},
    ]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ([], "input"),
        ([{"type": "function_call_output", "call_id": "c1", "output": "oak"}], "input.0.call_id"),
        ([{**CALL, "arguments": "[1]"}], "input.0.arguments"),
    ],
)
def test_input_that_makes_no_sense_is_refused_by_name(given: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(ApiError) as refusal:
        input_messages(items(*given), None)
    assert refusal.value.param == param
