"""Tools through OpenAI's own client: calls that have to come, whole and as a stream, and how free replies are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from casspec.runtime.text.chat import chat_ids
from casspec.server.api.tools import FlatChoice, FlatTool, ToolReplies
from casspec.server.tool_calls.choice import ToolUse
from casspec.server.tool_calls.deltas import joined
from casspec.server.tool_calls.formats import FORMATS
from tests.casspec.server.calling import GROWS, is_tree, serving_calls
from tests.casspec.server.serving import Served, alone
from tests.casspec.server.tool_calls.samples import SAMPLES, TOOLS

GET = {"type": "function", "function": {"name": "get", "description": "gets one", "parameters": GROWS}}
PUT = {"type": "function", "function": {"name": "put", "parameters": GROWS, "strict": True}}
NOT_STRICT = {"type": "function", "function": {"name": "put", "parameters": GROWS}}
MESSAGES = [{"role": "user", "content": "a tree"}]


@pytest.fixture(scope="module")
def calling() -> Iterator[Served]:
    with serving_calls() as running:
        yield running


def asked(served: Served, **fields: Any) -> Any:
    defaults: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 80, "tools": [GET, PUT]}
    return served.client().chat.completions.create(**defaults | fields)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.1, "seed": 5}])
def test_a_call_that_has_to_come_comes_whole_and_as_a_stream(calling: Served, sampling: dict[str, Any]) -> None:
    wanted = {"tool_choice": {"type": "function", "function": {"name": "put"}}, **sampling}
    (choice,) = asked(calling, **wanted).choices
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    (call,) = choice.message.tool_calls
    assert (call.type, call.function.name) == ("function", "put")
    assert is_tree(call.function.arguments)
    chunks = [chunk.choices[0] for chunk in asked(calling, **wanted, stream=True)]
    parts = [part for chunk in chunks for part in chunk.delta.tool_calls or ()]
    assert (parts[0].index, parts[0].type, parts[0].function.name) == (0, "function", "put")
    assert parts[0].id.startswith("call_")
    assert "".join(part.function.arguments for part in parts) == call.function.arguments
    assert all(part.id is None for part in parts[1:])
    assert chunks[-1].finish_reason == "tool_calls"
    assert not any(chunk.delta.content for chunk in chunks)


def test_several_calls_may_have_to_come_or_one_of_any_tool(calling: Served) -> None:
    (choice,) = asked(calling, tool_choice="required", parallel_tool_calls=False).choices
    (call,) = choice.message.tool_calls
    assert call.function.name in ("get", "put")
    for choice in asked(calling, tool_choice="required", n=3, temperature=1.5, seed=1, max_tokens=200).choices:
        calls = choice.message.tool_calls or []
        for call in calls[:-1] if choice.finish_reason == "length" else calls:
            assert is_tree(call.function.arguments)


def test_the_client_of_a_stream_puts_calls_together(calling: Served) -> None:
    fields: dict[str, Any] = {"model": "tiny", "messages": MESSAGES, "max_tokens": 80, "tools": [GET]}
    with calling.client().chat.completions.stream(**fields, tool_choice="required", parallel_tool_calls=False) as told:
        final = told.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    assert is_tree(call.function.arguments)


def test_answers_of_tools_go_back_through_the_template(calling: Served) -> None:
    first = asked(calling, tools=[GET], tool_choice="required", parallel_tool_calls=False).choices[0].message
    (call,) = first.tool_calls
    answer = {"role": "tool", "tool_call_id": call.id, "content": "12 m"}
    told = asked(calling, tools=[GET], messages=[*MESSAGES, first.model_dump(), answer], max_tokens=8)
    arguments = json.loads(call.function.arguments)
    called = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "get", "arguments": arguments}}]}
    tokenizer = calling.service.engines.target.tokenizer
    ids = chat_ids(tokenizer, [*MESSAGES, called, {"role": "tool", "content": "12 m"}], {"tools": [GET]})
    assert json.dumps({"name": "get", "arguments": arguments}) in tokenizer.decode(ids)
    assert told.usage.prompt_tokens == len(ids)
    assert told.choices[0].message.content == alone(ids, max_new_tokens=8).text


def test_a_reply_without_calls_is_its_text(calling: Served) -> None:
    (choice,) = asked(calling, tools=[GET], logprobs=True, max_tokens=12).choices
    chunks = list(asked(calling, tools=[GET], logprobs=True, max_tokens=12, stream=True))
    deltas = [chunk.choices[0] for chunk in chunks]
    assert "".join(one.delta.content or "" for one in deltas) == choice.message.content
    assert sum(len(one.logprobs.content) for one in deltas if one.logprobs) == 12
    assert (choice.message.tool_calls, choice.finish_reason) == (None, "length")


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"tools": [{"type": "custom"}]}, "tools.0.type", "function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools.0.function.name", "letters"),
        (
            {
                "tools": [
                    {"type": "function", "function": {"name": "f", "parameters": {"type": "wood"}, "strict": True}}
                ]
            },
            "tools",
            "cannot be honoured",
        ),
        ({"tools": [GET], "extra_body": {"grammar": 'root ::= "a"'}}, "grammar", "one of both"),
        ({"tool_choice": {"type": "function", "function": {"name": "no"}}}, "tool_choice", "get, put"),
        ({"tools": None, "tool_choice": "required"}, "tool_choice", "no tools"),
        ({"tools": None, "parallel_tool_calls": True}, "parallel_tool_calls", "no tools"),
        ({"tools": [GET], "response_format": {"type": "json_object"}}, "response_format", "one of both"),
        (
            {
                "tool_choice": "required",
                "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "wood"}}}],
            },
            "tools",
            "cannot be honoured",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    calling: Served, fields: dict[str, Any], param: str, says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as refusal:
        asked(calling, **fields)
    assert refusal.value.param == param


def test_a_model_that_was_not_trained_for_tools_is_told_of(served: Served) -> None:
    with pytest.raises(openai.BadRequestError, match="no place for tools") as refusal:
        asked(served, tools=[GET])
    assert refusal.value.param == "tools"
    assert asked(served, tools=[GET], tool_choice="none").choices[0].message.content


def replies(name: str, several: bool = True, n_texts: int = 1) -> ToolReplies:
    return ToolReplies(ToolUse(FORMATS[name], TOOLS, []), SimpleNamespace(), n_texts, several)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_stream_tells_what_the_whole_reply_has(name: str) -> None:
    text = SAMPLES[name]
    whole = replies(name).message(0, text)
    reader = replies(name)
    deltas = [delta for letter in text for delta in reader.pushed(0, letter)] + reader.finished(0)
    assert "".join(delta.get("content", "") for delta in deltas) == (whole["content"] or "")
    parts = [part for delta in deltas for part in delta.get("tool_calls", ())]
    told = dict.fromkeys(range(len(whole["tool_calls"])), "")
    for part in parts:
        told[part["index"]] += part["function"]["arguments"]
    assert list(told.values()) == [call["function"]["arguments"] for call in whole["tool_calls"]]


def test_calls_after_the_first_are_left_out_where_one_was_asked_for() -> None:
    reader = replies("hermes", several=False)
    assert [call["function"]["name"] for call in reader.message(0, SAMPLES["hermes"])["tool_calls"]] == ["get"]


def test_what_is_thought_stands_beside_what_is_said() -> None:
    told = replies("gpt-oss").message(0, SAMPLES["gpt-oss"])
    assert (told["content"], told["reasoning_content"]) == ("Sure.", "Think.")


def test_a_reply_that_was_cut_ends_so_although_it_called() -> None:
    reader = replies("hermes", n_texts=2)
    reader.message(0, SAMPLES["hermes"])
    cut: Any = SimpleNamespace(finish_reason="length")
    stopped: Any = SimpleNamespace(finish_reason="stop")
    assert [reader.finish_reason(0, told) for told in (cut, stopped)] == ["length", "tool_calls"]
    assert reader.finish_reason(1, stopped) == "stop"


def test_a_strict_function_under_auto_leaves_the_text_as_it_is(calling: Served) -> None:
    for sampling in ({}, {"temperature": 1.2, "seed": 3}):
        strict, free = (
            asked(calling, tools=[tool], max_tokens=24, **sampling).choices[0] for tool in (PUT, NOT_STRICT)
        )
        characters = free.message.content.partition("\ufffd")[
            0
        ]  # a random model says half ones too, which a grammar has none of
        assert characters.strip()
        assert strict.message.content.startswith(characters)


def test_a_tool_of_responses_is_one_of_chats() -> None:
    tool = FlatTool(type="function", name="get", description="gets one", parameters=GROWS, strict=True).as_tool()
    assert tool.model_dump() == {"type": "function", "function": {**GET["function"], "strict": True}}
    assert FlatChoice(type="function", name="get").as_choice() == {"type": "function", "function": {"name": "get"}}


def test_deltas_of_a_text_are_those_of_its_stream() -> None:
    reader = replies("hermes", several=False)
    deltas = [delta for letter in SAMPLES["hermes"] for delta in reader.deltas(0, letter)] + reader.last_deltas(0)
    assert joined(deltas).content == "Sure."
    assert [call.name for _, call in joined(deltas).calls] == ["get"]
