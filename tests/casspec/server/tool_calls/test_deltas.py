"""Deltas, and the message they come to."""

from __future__ import annotations

from casspec.server.tool_calls.deltas import ContentDelta, ReasoningDelta, ToolCallDelta, joined, new_id


def test_deltas_come_to_a_message() -> None:
    message = joined(
        [
            ReasoningDelta("so"),
            ContentDelta("a"),
            ToolCallDelta(0, "x", "get"),
            ToolCallDelta(0, arguments='{"a"'),
            ContentDelta("b"),
            ToolCallDelta(1, "y", "put"),
            ToolCallDelta(0, arguments=": 1}"),
        ]
    )
    assert (message.content, message.reasoning) == ("ab", "so")
    assert message.calls_as_openai() == [
        {"id": "x", "type": "function", "function": {"name": "get", "arguments": '{"a": 1}'}},
        {"id": "y", "type": "function", "function": {"name": "put", "arguments": ""}},
    ]


def test_the_first_delta_of_a_call_names_it() -> None:
    first, later = ToolCallDelta(0, "x", "get"), ToolCallDelta(0, arguments="{}")
    function = {"name": "get", "arguments": ""}
    assert first.as_openai() == {"index": 0, "id": "x", "type": "function", "function": function}
    assert later.as_openai() == {"index": 0, "function": {"arguments": "{}"}}


def test_ids_are_of_one_call_only() -> None:
    assert len({new_id() for _ in range(100)}) == 100
