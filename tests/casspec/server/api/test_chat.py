"""/v1/chat/completions through OpenAI's own client: every field, whole and as a stream."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from casspec.runtime.text.chat import chat_ids
from tests.casspec.server.serving import Served, alone, target_of

MESSAGES = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "area of a circle"}]


def asked(served: Served, **fields: Any) -> Any:
    defaults = {"model": "tiny", "messages": MESSAGES, "max_completion_tokens": 12}
    return served.client().chat.completions.create(**defaults | fields)


def streamed(served: Served, **fields: Any) -> tuple[list[str], list[Any]]:
    chunks = list(asked(served, stream=True, **fields))
    texts: dict[int, str] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + (choice.delta.content or "")
    return [texts[index] for index in sorted(texts)], chunks


def ids(messages: list[dict[str, Any]] | None = None) -> list[int]:
    return chat_ids(target_of().tokenizer, messages or MESSAGES)


def test_a_reply_is_what_the_decoder_says_after_the_template(served: Served) -> None:
    expected = alone(ids(), max_new_tokens=12)
    answer = asked(served)
    message = answer.choices[0].message
    assert (message.role, message.content, answer.object) == ("assistant", expected.text, "chat.completion")
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.prompt_tokens == len(ids())
    texts, chunks = streamed(served)
    assert texts == [expected.text]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "length"]
    assert asked(served, max_completion_tokens=None, max_tokens=12).choices[0].message.content == expected.text


def test_messages_of_every_role_reach_the_template(served: Served) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "be brief"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "what "}, {"type": "text", "text": "now"}],
            "name": "ann",
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "content": "3", "tool_call_id": "c1"},
        {"role": "assistant", "content": "three", "refusal": None},
        {"role": "user", "content": "more"},
    ]
    plain = [
        {"role": role, "content": content}
        for role, content in [
            ("system", "be brief"),
            ("user", "what now"),
            ("assistant", ""),
            ("tool", "3"),
            ("assistant", "three"),
            ("user", "more"),
        ]
    ]
    assert asked(served, messages=messages).choices[0].message.content == alone(ids(plain), max_new_tokens=12).text


def test_an_answer_can_be_sent_back_as_it_came(served: Served) -> None:
    first = asked(served).choices[0].message
    more = [*MESSAGES, first.model_dump(), {"role": "user", "content": "go on"}]
    usage = asked(served, messages=more).usage
    assert usage.prompt_tokens_details.cached_tokens >= len(ids()) - 2, "but for how the template joins them"


def test_several_sampled_texts(served: Served) -> None:
    fields = {"n": 3, "temperature": 0.9, "seed": 11, "top_p": 0.9}
    texts = [choice.message.content for choice in asked(served, **fields).choices]
    assert len(set(texts)) == 3
    assert texts[0] == alone(ids(), max_new_tokens=12, temperature=0.9, seed=11, top_p=0.9).text
    assert streamed(served, **fields)[0] == texts


def test_logprobs_come_with_bytes_and_the_likeliest(served: Served) -> None:
    expected = alone(ids(), max_new_tokens=5, logprobs=3).logprobs
    answer = asked(served, logprobs=True, top_logprobs=3, max_completion_tokens=5)
    content = answer.choices[0].logprobs.content
    assert [one.logprob for one in content] == pytest.approx([one.raw_logprob for one in expected])
    assert all(len(one.top_logprobs) == 3 for one in content)
    assert b"".join(bytes(one.bytes) for one in content).decode("utf-8", "replace") == answer.choices[0].message.content
    _, chunks = streamed(served, logprobs=True, top_logprobs=3, max_completion_tokens=5)
    parts = [chunk.choices[0].logprobs.content for chunk in chunks if chunk.choices[0].logprobs]
    assert [one.logprob for part in parts for one in part] == pytest.approx([one.logprob for one in content])
    assert asked(served, logprobs=True, max_completion_tokens=2).choices[0].logprobs.content[0].top_logprobs == []
    assert asked(served, max_completion_tokens=2).choices[0].logprobs is None


def test_options_of_completions_hold_here_too(served: Served) -> None:
    expected = alone(ids(), max_new_tokens=12)
    word = expected.text[2:4]
    assert asked(served, stop=word).choices[0].message.content == expected.text.split(word)[0]
    assert asked(served, logit_bias={"0": 100}).usage.completion_tokens == 1
    _, chunks = streamed(served, stream_options={"include_usage": True})
    assert chunks[-1].usage.completion_tokens == 12
    plain = asked(served, extra_body={"speculation": {"enabled": False}})
    assert (plain.choices[0].message.content, plain.usage.speculation["steps"]) == (expected.text, 12)


def test_what_a_client_expects_is_drafted(served: Served) -> None:
    fields = {"max_completion_tokens": 40, "extra_body": {"speculation": {"enabled": False}}}
    text = asked(served, **fields).choices[0].message.content
    told = asked(served, **fields | {"extra_body": None}, prediction={"type": "content", "content": text})
    assert told.choices[0].message.content == text
    details = told.usage.completion_tokens_details
    assert details.accepted_prediction_tokens + details.rejected_prediction_tokens > 0


def test_what_is_done_anyway_may_be_asked_for(served: Served) -> None:
    answer = asked(
        served, store=False, modalities=["text"], service_tier="auto", user="ann", response_format={"type": "text"}
    )
    assert answer.service_tier == "default"
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert (
        asked(served, tools=tools, tool_choice="none").choices[0].message.content == answer.choices[0].message.content
    )


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": "x", "tool_call_id": "c"}]}, "messages.0.tool_call_id"),
        ({"max_tokens": 3}, "max_tokens"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 50}, "top_logprobs"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"store": True}, "store"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"response_format": {"type": "yaml"}}, "response_format"),
        ({"extra_body": {"chat_template_kwargs": {"tokenize": False}}}, "messages"),
        ({"extra_body": {"guided_choice": ["a"]}}, "guided_choice"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(served: Served, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refusal:
        asked(served, **fields)
    assert str(refusal.value.param).startswith(param)
