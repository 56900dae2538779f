"""What counts as a part of a stream, and what a stream that tells nothing comes to."""

from __future__ import annotations

from typing import Any

import pytest

from casspec.tuner.engines.stream import RequestFailed, Stream, choice_text, response_text


def call(**function: str) -> dict[str, Any]:
    return {"delta": {"tool_calls": [{"index": 0, "function": function}]}}


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"text": "ab"}, "ab"),
        ({"text": "", "finish_reason": "stop"}, ""),
        ({"delta": {"role": "assistant", "content": ""}}, ""),
        ({"delta": {"content": "ab"}}, "ab"),
        ({"delta": {"content": None, "reasoning_content": "so"}}, "so"),
        ({"delta": {"reasoning": "so"}}, "so"),
        ({"delta": {"reasoning": "so", "reasoning_content": "so"}}, "so"),
        ({"delta": {"reasoning": "so", "content": "ab"}}, "soab"),
        ({"delta": {"refusal": "no"}}, "no"),
        (call(name="get", arguments=""), "get"),
        (call(arguments='{"a"'), '{"a"'),
        ({"delta": {"function_call": {"name": "get", "arguments": "{}"}}}, "get{}"),
        ({"delta": {}, "finish_reason": "tool_calls"}, ""),
        ({"delta": None}, ""),
    ],
)
def test_text_thoughts_and_calls_of_a_choice_are_what_the_model_wrote(choice: dict[str, Any], text: str) -> None:
    assert choice_text(choice) == text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        ({"type": "response.created", "response": {"error": None}}, ""),
        ({"type": "response.output_text.delta", "delta": "ab"}, "ab"),
        ({"type": "response.reasoning_text.delta", "delta": "so"}, "so"),
        ({"type": "response.reasoning_summary_text.delta", "delta": "so"}, "so"),
        ({"type": "response.function_call_arguments.delta", "delta": "{"}, "{"),
        ({"type": "response.function_call_arguments.done", "arguments": "{}"}, ""),
        ({"type": "response.output_text.done", "text": "ab"}, ""),
        ({"type": "response.output_item.added", "item": {"type": "function_call", "name": "get"}}, "get"),
        ({"type": "response.output_item.added", "item": {"type": "message"}}, ""),
        ({"type": "response.output_item.done", "item": {"type": "function_call", "name": "get"}}, ""),
        ({"choices": []}, ""),
    ],
)
def test_deltas_and_names_of_calls_are_the_parts_of_a_response(event: dict[str, Any], text: str) -> None:
    assert response_text(event) == text


@pytest.mark.parametrize("end", ["response.completed", "response.incomplete"])
def test_a_response_tells_its_tokens_at_the_end(end: str) -> None:
    stream = Stream()
    assert stream.add(1.0, "ab", [])
    assert stream.so_far == 1
    stream.take_usage({"type": end, "response": {"error": None, "usage": {"input_tokens": 3, "output_tokens": 9}}})
    assert stream.tokens() == 9
    assert stream.first_tokens == 1, "nobody told how many came with the first part"


def test_usage_that_is_told_as_parts_come_says_what_the_first_brought() -> None:
    stream = Stream()
    for count, text in ((0, ""), (4, "ab"), (6, "c")):
        stream.take_usage({"choices": [], "usage": {"completion_tokens": count}})
        assert stream.add(float(count), text, []) is bool(text)
    assert (stream.parts, stream.first_tokens, stream.so_far, stream.tokens()) == ([4.0, 6.0], 4, 6, 6)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"error": {"message": "no room"}}, "no room"),
        ({"type": "error", "message": "too long"}, "too long"),
        ({"type": "response.failed", "response": {"error": {"message": "it broke"}}}, "it broke"),
        ({"type": "response.failed", "response": {}}, "the response failed"),
    ],
)
def test_an_event_of_a_failure_fails_the_request(event: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestFailed, match=words):
        Stream().take_usage(event)


def test_a_stream_without_parts_or_without_tokens_is_no_answer() -> None:
    stream = Stream()
    with pytest.raises(RequestFailed, match="without text"):
        stream.tokens()
    stream.add(1.0, "ab", [])
    with pytest.raises(RequestFailed, match="without usage"):
        stream.tokens()
    stream.add(2.0, "", [5, 6])
    assert stream.tokens() == 2
