"""Formats that hold JSON."""

from __future__ import annotations

import json

import pytest

from casspec.server.tool_calls.deltas import ToolCallDelta
from casspec.server.tool_calls.formats import FORMATS
from tests.casspec.server.tool_calls.samples import (
    CALL,
    CALL_END,
    CALLS,
    FIRST,
    SAMPLES,
    SECOND,
    SEP,
    TOOLS,
    as_json,
    counted,
    fenced,
    read,
)

JSON_FORMATS = ["hermes", "llama", "mistral", "mistral-named", "granite", "phi", "deepseek-v3", "deepseek-v3.1"]


@pytest.mark.parametrize("name", JSON_FORMATS)
def test_calls_are_read_with_their_arguments(name: str) -> None:
    calls = [call for _, call in read(name, SAMPLES[name]).calls]
    assert [call.name for call in calls] == ["get", "put"]
    assert [json.loads(call.arguments) for call in calls] == [json.loads(FIRST), json.loads(SECOND)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", "<tool_call>no json</tool_call>"),
        ("hermes", '<tool_call>{"name": "get"'),
        ("hermes", '<tool_call>{"name": "get", "arguments": [1]}</tool_call>'),
        ("hermes", '<tool_call>{"arguments": {"a": NaN}, "name": "get"}</tool_call>'),
        ("llama", '{"answer": 42}'),
        ("llama", 'Look: {"name": "get", "parameters": {}}'),
        ("mistral", "[TOOL_CALLS] are what I write"),
        ("mistral", f"[TOOL_CALLS][3, {as_json('get', FIRST)}]"),
        ("mistral-named", "[TOOL_CALLS]get[ARGS][1]"),
        ("granite", "<|tool_call|>[]"),
        ("deepseek-v3", f"{CALLS}nothing"),
        ("deepseek-v3.1", f"{CALLS}{CALL}get{SEP}[]"),
    ],
)
def test_what_is_no_call_is_content(name: str, text: str) -> None:
    message = read(name, text)
    assert message.calls == ()
    assert message.content == text


def test_calls_before_a_broken_one_stand() -> None:
    text = f"{CALLS}{fenced('get', FIRST)}{CALL}function{SEP}put\n```json\n[{{"
    message = read("deepseek-v3", text)
    assert [call.name for _, call in message.calls] == ["get"]
    assert message.content == f"{CALL}function{SEP}put\n```json\n[{{"


@pytest.mark.parametrize("name", JSON_FORMATS)
def test_arguments_are_told_as_they_come_and_as_they_are_written(name: str) -> None:
    reader, told = FORMATS[name].reader(TOOLS, counted()), []
    place = SAMPLES[name].index(FIRST)
    told += reader.push(SAMPLES[name][: place + 1])
    assert told[-2:] == [ToolCallDelta(0, "call_0", "get"), ToolCallDelta(0, arguments="{")]
    for character in FIRST[1:]:
        assert reader.push(character) == [ToolCallDelta(0, arguments=character)]


def test_a_call_counts_from_where_its_arguments_begin() -> None:
    """Arguments that were cut, or are no JSON, are told as the model wrote them."""
    for text in ('{"a": ', '{"a": NaN}'):
        ((_, call),) = read("hermes", f'<tool_call>{{"name": "get", "arguments": {text}').calls
        assert call.arguments == text


def test_what_follows_a_call_and_is_none_is_content() -> None:
    message = read("mistral", f"[TOOL_CALLS][{as_json('get', FIRST)}, 3]")
    assert [call.name for _, call in message.calls] == ["get"]
    assert message.content == ", 3]"
    message = read("hermes", f'<tool_call>{{"name": "get", "arguments": {FIRST}</tool_call> Done.')
    assert [call.arguments for _, call in message.calls] == [FIRST]
    assert message.content == "Done."


def test_fields_beside_name_and_arguments_are_left_out() -> None:
    message = read("hermes", f'<tool_call>{{"name": "get", "arguments": {FIRST}, "id": "}}"}}</tool_call>')
    assert [call.arguments for _, call in message.calls] == [FIRST]
    assert message.content == ""


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hermes", f"<tool_call>\n{as_json('get', FIRST)}\n"),
        ("hermes", f"<tool_call>\n{as_json('get', FIRST)}\n</tool_c"),
        ("phi", f"<|tool_call|>[{as_json('get', FIRST)}]"),
        ("deepseek-v3.1", f"{CALLS}{CALL}get{SEP}{FIRST}{CALL_END}"),
        ("llama", f"<|python_tag|>{as_json('get', FIRST, 'parameters')}"),
    ],
)
def test_an_end_marker_that_never_came_is_not_missed(name: str, text: str) -> None:
    message = read(name, text)
    assert [call.name for _, call in message.calls] == ["get"]
    assert message.content == ""


def test_arguments_may_be_json_in_a_string_or_missing() -> None:
    written = json.dumps({"name": "get", "arguments": FIRST})
    ((_, call),) = read("hermes", f"<tool_call>{written}</tool_call>").calls
    assert json.loads(call.arguments) == json.loads(FIRST)
    ((_, call),) = read("hermes", '<tool_call>{"name": "put"}</tool_call>').calls
    assert call.arguments == "{}"
