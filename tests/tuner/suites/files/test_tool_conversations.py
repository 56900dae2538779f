"""Conversations with tools."""

from __future__ import annotations

import json
from typing import Any

import pytest

from casspec.tuner.suites.files.rows import UnusableRow
from casspec.tuner.suites.files.tool_conversations import messages

CALL = {"id": "c1", "type": "function", "function": {"name": "get", "arguments": '{"n": 1}'}}
TOOLS = [{"type": "function", "function": {"name": "get", "parameters": {"type": "object"}}}]
SAID = [
    {"role": "developer", "content": "be brief"},
    {"role": "user", "content": [{"type": "text", "text": "a tree"}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "oak"},
]


def asked(**row: Any) -> dict[str, Any]:
    return json.loads(messages({"messages": SAID, **row}).conversation)


def test_a_conversation_with_tools_is_one_turn_as_a_template_takes_it() -> None:
    request = messages({"messages": SAID, "tools": TOOLS, "category": "trees"})
    assert (request.turns, request.task, request.answers, request.system) == (("a tree",), "trees", (), "")
    called = {"id": "c1", "type": "function", "function": {"name": "get", "arguments": {"n": 1}}}
    assert json.loads(request.conversation) == {
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "a tree"},
            {"role": "assistant", "content": "", "tool_calls": [called]},
            {"role": "tool", "content": "oak", "tool_call_id": "c1"},
        ],
        "tools": TOOLS,
    }
    assert asked()["tools"] == []


def test_tools_alone_make_it_one() -> None:
    first = [{"role": "user", "content": "a tree"}]
    assert asked(messages=first, tools=TOOLS) == {"messages": first, "tools": TOOLS}
    assert messages({"messages": first}).conversation == ""
    assert messages({"messages": first, "tools": []}).turns == ("a tree",)


def test_an_answer_that_is_known_is_what_is_asked_for() -> None:
    answered = [*SAID, {"role": "assistant", "content": "An oak."}]
    assert asked(messages=answered) == asked()


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ([{"role": "tool", "content": "x"}], "no question"),
        ([*SAID, 3], "message 5 is 3"),
        ([*SAID, {"role": "function", "content": "x"}], "role 'function'"),
        ([*SAID, {"role": "user", "content": "x", "tool_calls": [CALL]}], "message 5 has calls that are none"),
        ([*SAID, {"role": "assistant", "tool_calls": [{"function": {}}]}], "expected a function with a name"),
        (
            [*SAID, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "["}}]}],
            "no JSON object",
        ),
    ],
)
def test_what_is_no_conversation_is_told_in_a_few_words(said: list[Any], says: str) -> None:
    with pytest.raises(UnusableRow, match=says):
        messages({"messages": said, "tools": TOOLS})


def test_tools_that_are_none_are_told() -> None:
    with pytest.raises(UnusableRow, match="expected a list of functions"):
        messages({"messages": SAID, "tools": [{"type": "web_search"}]})
