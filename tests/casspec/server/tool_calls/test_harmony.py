"""Messages in channels."""

from __future__ import annotations

import json

from casspec.server.tool_calls.deltas import ContentDelta, ReasoningDelta, ToolCallDelta
from casspec.server.tool_calls.harmony import HarmonyStream
from tests.casspec.server.tool_calls.samples import FIRST, SAMPLES, TOOLS, counted, read


def test_channels_are_told_apart() -> None:
    message = read("gpt-oss", SAMPLES["gpt-oss"])
    assert (message.reasoning, message.content) == ("Think.", "Sure.")
    assert [call.name for _, call in message.calls] == ["get", "put"]
    assert json.loads(message.calls[0][1].arguments) == json.loads(FIRST)


def test_what_is_said_is_told_as_it_comes() -> None:
    reader = HarmonyStream(TOOLS)
    assert reader.push("<|channel|>analysis<|message|>Hm") == [ReasoningDelta("Hm")]
    assert reader.push("m<|en") == [ReasoningDelta("m")]
    assert reader.push("d|><|start|>assistant<|channel|>final<|message|>Yes") == [ContentDelta("Yes")]
    assert reader.push("<|return|>") == reader.finish() == []


def test_a_call_without_its_end_counts_and_a_broken_one_is_content() -> None:
    head = "<|channel|>commentary to=functions.get <|constrain|>json<|message|>"
    assert [call.name for _, call in read("gpt-oss", head + FIRST).calls] == ["get"]
    assert read("gpt-oss", head + "[1]<|call|>").content == "[1]"
    assert read("gpt-oss", head.replace("get", "other") + "{}<|call|>").content == "{}"


def test_text_without_channels_is_content() -> None:
    assert read("gpt-oss", "Just text.<|return|>", [4]).content == "Just text."
    assert read("gpt-oss", "<|channel|>final").content == ""


def test_arguments_are_told_as_they_come() -> None:
    reader = HarmonyStream(TOOLS, counted())
    assert reader.push("<|channel|>commentary to=functions.get <|constrain|>json<|message|>") == []
    assert reader.push('{"ci') == [ToolCallDelta(0, "call_0", "get"), ToolCallDelta(0, arguments='{"ci')]
    assert reader.push('ty": "<|') == [ToolCallDelta(0, arguments='ty": "')]
    assert reader.push('x"}<|call|>') == [ToolCallDelta(0, arguments='<|x"}')]
    ((_, call),) = read("gpt-oss", '<|channel|>commentary to=functions.get<|message|>{"city": <|call|>').calls
    assert call.arguments == '{"city": '


def test_a_recipient_may_stand_before_its_channel() -> None:
    message = read("gpt-oss", f" to=functions.get<|channel|>commentary json<|message|>{FIRST}<|call|>")
    assert [call.name for _, call in message.calls] == ["get"]
    assert message.content == ""
    for text in (" to=functions.get", " to=functions.get here", " to"):
        assert read("gpt-oss", text, [2]).content == text
