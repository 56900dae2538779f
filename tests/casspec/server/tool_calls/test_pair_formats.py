"""Formats of keys and values in tags."""

from __future__ import annotations

import json

import pytest

from casspec.server.tool_calls.deltas import ToolCallDelta
from casspec.server.tool_calls.formats import FORMATS
from tests.casspec.server.tool_calls.samples import SAMPLES, TOOLS, counted, read


def arguments(name: str, text: str) -> list[object]:
    return [json.loads(call.arguments) for _, call in read(name, text).calls]


def test_values_take_the_types_that_schemas_name() -> None:
    assert arguments("qwen3-coder", SAMPLES["qwen3-coder"]) == [{"city": "Paris\nFrance", "n": 3}, {"k": ["a"]}]
    assert arguments("glm", SAMPLES["glm"]) == [{"city": "12", "n": 3}, {}]


def test_null_and_text_are_told_apart() -> None:
    pairs = "<arg_key>a</arg_key><arg_value>null</arg_value><arg_key>b</arg_key><arg_value>no</arg_value>"
    assert arguments("glm", f"<tool_call>put{pairs}</tool_call>") == [{"a": None, "b": "no"}]


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
def test_tags_that_hold_no_call_are_content(text: str) -> None:
    message = read("qwen3-coder", f"<tool_call>{text}</tool_call>")
    assert message.calls == ()
    assert message.content == f"<tool_call>{text}</tool_call>"


@pytest.mark.parametrize(
    "text", ["", "other", "get<arg_key>a</arg_key>", "get\n<arg_key>a</arg_key>x<arg_value>1</arg_value>"]
)
def test_pairs_that_hold_no_call_are_content(text: str) -> None:
    message = read("glm", f"<tool_call>{text}</tool_call>")
    assert message.calls == ()
    assert message.content == f"<tool_call>{text}</tool_call>"


def test_a_string_is_told_as_it_comes_and_other_values_once_they_are_whole() -> None:
    reader = FORMATS["qwen3-coder"].reader(TOOLS, counted())
    assert reader.push("<tool_call>\n<function=get>\n") == []
    assert reader.push("<parameter=city>\nPar") == [
        ToolCallDelta(0, "call_0", "get"),
        ToolCallDelta(0, arguments='{"city": "Par'),
    ]
    assert reader.push('is "\n') == [ToolCallDelta(0, arguments='is \\"')]
    assert reader.push("x\n</param") == [ToolCallDelta(0, arguments="\\nx")]
    assert reader.push("eter>\n<parameter=n>\n1") == [ToolCallDelta(0, arguments='", "n": ')]
    assert reader.push("2\n</parameter>\n") == [ToolCallDelta(0, arguments="12")]
    assert reader.push("</function>") == [ToolCallDelta(0, arguments="}")]
    assert reader.push("\n</tool_call>") == reader.finish() == []


def test_a_call_that_was_cut_is_told_as_far_as_it_came() -> None:
    ((_, call),) = read("glm", "<tool_call>get\n<arg_key>city</arg_key>\n<arg_value>Par").calls
    assert call.arguments == '{"city": "Par'


def test_what_stands_between_pairs_ends_the_call() -> None:
    message = read("glm", "<tool_call>get<arg_key>n</arg_key><arg_value>1</arg_value> and so on</tool_call>")
    assert [call.arguments for _, call in message.calls] == ['{"n": 1}']
    assert message.content == "and so on</tool_call>"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "12345"),
        ({"type": ["string", "null"]}, "12345"),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, 12345),
        ({}, 12345),
    ],
)
def test_a_string_that_may_be_missing_stays_a_string(
    monkeypatch: pytest.MonkeyPatch, schema: dict[str, object], expected: object
) -> None:
    monkeypatch.setitem(TOOLS, "put", {"type": "object", "properties": {"zip": schema}})
    pair = "<arg_key>zip</arg_key><arg_value>{}</arg_value>"
    assert arguments("glm", f"<tool_call>put{pair.format(12345)}</tool_call>") == [{"zip": expected}]
    assert arguments("glm", f"<tool_call>put{pair.format('null')}</tool_call>") == [{"zip": None}]
