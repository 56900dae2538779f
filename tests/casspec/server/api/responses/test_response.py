"""/v1/responses through OpenAI's own client: every field, whole and as a stream, and nothing kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from casspec.runtime.text.chat import chat_ids
from tests.casspec.server.calling import GROWS, is_tree, serving_calls
from tests.casspec.server.serving import Served, alone, target_of

GET = {"type": "function", "name": "get", "description": "gets one", "parameters": GROWS, "strict": True}
PUT = {"type": "function", "name": "put", "parameters": GROWS, "strict": None}
SAID = [("system", "be brief"), ("user", "area of a circle")]


def asked(served: Served, **fields: Any) -> Any:
    defaults = {"model": "tiny", "input": "area of a circle", "instructions": "be brief", "max_output_tokens": 12}
    return served.client().responses.create(**defaults | fields)


def ids(*said: tuple[str, str]) -> list[int]:
    return chat_ids(target_of().tokenizer, [{"role": role, "content": content} for role, content in said or SAID])


def test_a_response_is_what_the_decoder_says_after_the_template(served: Served) -> None:
    answer = asked(served, metadata={"k": "v"}, user="ann")
    assert answer.output_text == alone(ids(), max_new_tokens=12).text
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert (answer.metadata, answer.user, answer.instructions) == ({"k": "v"}, "ann", "be brief")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (len(ids()), 12)
    sampled = asked(served, temperature=0.9, top_p=0.8, extra_body={"seed": 4})
    assert sampled.output_text == alone(ids(), max_new_tokens=12, temperature=0.9, top_p=0.8, seed=4).text


def test_input_is_a_conversation_earlier_answers_included(served: Served) -> None:
    first = asked(served)
    messages = [
        {"role": "user", "content": [{"type": "input_text", "text": "area of a circle"}]},
        first.output[0].model_dump(exclude_none=True),
        {"type": "message", "role": "developer", "content": "be long"},
        {"role": "user", "content": "more"},
    ]
    said = [*SAID, ("assistant", first.output_text), ("system", "be long"), ("user", "more")]
    assert asked(served, input=messages).output_text == alone(ids(*said), max_new_tokens=12).text


def test_a_stream_tells_every_event_in_order(served: Served) -> None:
    events = list(asked(served, stream=True))
    names = [one.type for one in events]
    assert names[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert names[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [one.sequence_number for one in events] == list(range(len(events)))
    deltas = "".join(one.delta for one in events if one.type == "response.output_text.delta")
    assert deltas == events[-1].response.output_text == events[-4].text == asked(served).output_text


def test_a_text_that_ends_by_itself_is_complete(served: Served) -> None:
    token = alone(ids(), max_new_tokens=12).token_ids[5]
    answer = asked(served, extra_body={"stop_token_ids": [token]})
    assert (answer.status, answer.output[0].status) == ("completed", "completed")


def test_logprobs_come_where_they_are_included(served: Served) -> None:
    fields = {"include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 4}
    told = asked(served, **fields).output[0].content[0].logprobs
    expected = alone(ids(), max_new_tokens=4, logprobs=2).logprobs
    assert [one.logprob for one in told] == pytest.approx([one.raw_logprob for one in expected])
    streamed = [one for one in asked(served, stream=True, **fields) if one.type == "response.output_text.delta"]
    assert [one.logprob for part in streamed for one in part.logprobs] == pytest.approx([one.logprob for one in told])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input"),
        ({"store": True}, "store"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
        ({"extra_body": {"n": 2}}, "n"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(served: Served, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        asked(served, **fields)
    assert str(refusal.value.param).startswith(param)


@pytest.fixture(scope="module")
def calling() -> Iterator[Served]:
    with serving_calls() as running:
        yield running


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.1, "extra_body": {"seed": 5}}])
def test_a_call_that_has_to_come_is_an_item_whole_and_as_a_stream(calling: Served, sampling: dict[str, Any]) -> None:
    wanted = {
        "tools": [GET, PUT],
        "tool_choice": {"type": "function", "name": "put"},
        "max_output_tokens": 80,
        **sampling,
    }
    answer = asked(calling, **wanted)
    (call,) = answer.output
    assert (call.type, call.name, call.status, answer.status) == ("function_call", "put", "completed", "completed")
    assert is_tree(call.arguments)
    assert answer.tools[0].strict
    assert (answer.tool_choice.name, answer.output_text) == ("put", "")
    events = list(asked(calling, stream=True, **wanted))
    assert [one.type for one in events if "delta" not in one.type] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    deltas = [one.delta for one in events if one.type == "response.function_call_arguments.delta"]
    assert len(deltas) > 2
    assert "".join(deltas) == call.arguments == events[-3].arguments
    assert events[-2].item == events[-1].response.output[0]
    assert events[2].item.call_id == events[-2].item.call_id


def test_the_clients_stream_puts_calls_together(calling: Served) -> None:
    fields = {"model": "tiny", "input": "a tree", "max_output_tokens": 80, "tools": [GET], "tool_choice": "required"}
    with calling.client().responses.stream(**fields, parallel_tool_calls=False) as told:
        (call,) = told.get_final_response().output
    assert is_tree(call.arguments)


def test_what_a_call_came_to_goes_back_through_the_template(calling: Served) -> None:
    fields = {"tools": [GET], "tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 80}
    first = asked(calling, **fields)
    (call,) = first.output
    came = {"type": "function_call_output", "call_id": call.call_id, "output": "12 m"}
    conversation = [{"role": "user", "content": "area of a circle"}, call.model_dump(exclude_none=True), came]
    told = asked(calling, input=conversation, tools=[GET])
    called = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "get", "arguments": json.loads(call.arguments)}}],
    }
    messages = [{"role": role, "content": content} for role, content in SAID]
    function = {key: value for key, value in GET.items() if key != "type"}
    tools = {"tools": [{"type": "function", "function": function}]}
    prompt = chat_ids(
        calling.service.engines.target.tokenizer, [*messages, called, {"role": "tool", "content": "12 m"}], tools
    )
    assert told.usage.input_tokens == len(prompt)
    assert told.output_text == alone(prompt, max_new_tokens=12).text


def test_a_model_that_may_call_may_also_answer(calling: Served) -> None:
    answer = asked(calling, tools=[GET])
    assert answer.output[0].type == "message"
    assert (answer.tool_choice, answer.parallel_tool_calls) == ("auto", True)
    assert asked(calling, tools=[GET], tool_choice="none").output_text


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [GET], "include": ["message.output_text.logprobs"]}, "include"),
        ({"tools": [GET], "text": {"format": {"type": "json_object"}}}, "text.format"),
        ({"tools": [GET], "tool_choice": {"type": "function", "name": "no"}}, "tool_choice"),
        ({"tools": [{**GET, "name": "a b"}]}, "tools.0"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "get", "arguments": "["}]}, "input.0.arguments"),
    ],
)
def test_tools_that_cannot_be_honoured_are_refused_by_name(calling: Served, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        asked(calling, **fields)
    assert str(refusal.value.param).startswith(param)
