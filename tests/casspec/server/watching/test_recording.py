"""Requests that were answered are recorded as they were asked, and can be calibrated on; nothing of others is kept."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from casspec.server.watching.recording import recorded
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.prompts import prompt_ids
from tests.casspec.server.calling import GROWS, serving_calls
from tests.casspec.server.serving import serving, with_settings


def a_reply(n_tokens: list[int], is_whole: bool = True) -> Any:
    return SimpleNamespace(is_whole=is_whole, age_s=2.0, told=[SimpleNamespace(n_tokens=n) for n in n_tokens])


def test_each_prompt_is_a_row_with_the_length_of_its_own_texts() -> None:
    rows = recorded([{"prompt": "a"}, {"prompt": [1, 2]}], {"n": 2}, a_reply([1, 2, 30, 40]))
    assert [(row.prompt, row.output_tokens, row.options) for row in rows] == [
        ("a", 3, {"n": 2}),
        ([1, 2], 70, {"n": 2}),
    ]
    assert recorded([{"prompt": "a"}], {}, a_reply([5], is_whole=False)) == []


def test_what_was_asked_becomes_a_suite(tmp_path: Path) -> None:
    place = tmp_path / "traffic.jsonl"
    with serving(with_settings(record_traffic=place)) as served:
        client = served.client()
        messages: list[Any] = [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a tree"}]},
        ]
        client.chat.completions.create(model="tiny", messages=messages, max_tokens=5, user="ann")
        list(client.completions.create(model="tiny", prompt=["def f():", "class A:"], max_tokens=3, stream=True))
        client.responses.create(model="tiny", input="what now", max_output_tokens=4)
        with pytest.raises(Exception, match="temperature"):
            client.completions.create(model="tiny", prompt="lost", temperature=-1)
        client.completions.create(model="tiny", prompt="left", max_tokens=300, stream=True).close()
        assert served.service.recorder is not None
        assert str(place) in served.service.recorder.keeps
    rows = [json.loads(line) for line in place.read_text("utf-8").splitlines()]
    assert [row["url"] for row in rows[:4]] == [
        "/v1/chat/completions",
        *["/v1/completions"] * 2,
        "/v1/chat/completions",
    ]
    assert [row["casspec"]["output_tokens"] for row in rows[:4]] == [5, 3, 3, 4]
    assert rows[0]["body"]["max_tokens"] == 5
    assert "ann" not in place.read_text("utf-8")
    assert "lost" not in place.read_text("utf-8")
    arrived = [row["casspec"]["arrived_at"] for row in rows]
    assert arrived == sorted(arrived)
    assert load_suite(str(place)).prompts


def test_conversations_with_tools_become_the_prompts_that_they_were(tmp_path: Path) -> None:
    place, lengths = tmp_path / "traffic.jsonl", []
    function = {"name": "get", "parameters": GROWS}
    call = {"id": "c", "type": "function", "function": {"name": "get", "arguments": '{"tall": true, "sort": "oak"}'}}
    messages: list[Any] = [
        {"role": "user", "content": "a tree"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "12 m"},
    ]
    items: list[Any] = [
        {"role": "user", "content": "a tree"},
        {"type": "function_call", "call_id": "c", **call["function"]},
        {"type": "function_call_output", "call_id": "c", "output": "12 m"},
    ]
    with serving_calls(with_settings(record_traffic=place)) as served:
        client = served.client()
        for said, choice in ((messages[:1], "required"), (messages, "auto"), (messages, "none")):
            fields: dict[str, Any] = {"tools": [{"type": "function", "function": function}], "tool_choice": choice}
            answer = client.chat.completions.create(model="tiny", messages=said, max_tokens=60, **fields)
            lengths.append(answer.usage.prompt_tokens)
        tool: Any = {"type": "function", **function}
        answer = client.responses.create(model="tiny", input=items, tools=[tool], max_output_tokens=4)
        lengths.append(answer.usage.input_tokens)
        tokenizer = served.service.engines.target.tokenizer
    prompts = load_suite(str(place), strict=True).prompts
    assert [len(prompt_ids(prompt, tokenizer)) for prompt in prompts] == lengths
    assert len(set(lengths)) == 3


def test_nothing_is_recorded_unless_asked_for() -> None:
    with serving() as served:
        served.client().completions.create(model="tiny", prompt="x", max_tokens=2)
        assert served.service.recorder is None
