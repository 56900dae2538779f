"""A thousand requests that are wrong somewhere are refused or answered, and never break the server."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import httpx2 as httpx
import pytest

from casspec.server.api.chat import ChatRequest
from casspec.server.api.completions import CompletionRequest
from casspec.server.api.responses.response import ResponseRequest
from tests.casspec.server.serving import Served

MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}, {"role": "assistant", "content": "ho"}]
BODIES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("v1/completions", {"prompt": "x", "max_tokens": 2}, list(CompletionRequest.model_fields)),
    ("v1/chat/completions", {"messages": MESSAGES, "max_tokens": 2}, list(ChatRequest.model_fields)),
    ("v1/responses", {"input": MESSAGES[1:], "max_output_tokens": 2}, list(ResponseRequest.model_fields)),
    ("tokenize", {"messages": MESSAGES}, ["prompt", "messages", "add_special_tokens", "chat_template_kwargs"]),
    ("detokenize", {"tokens": [1, 2]}, ["tokens"]),
]
JUNK: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    2,
    -1,
    0.5,
    1e-300,
    1e300,
    2**31,
    2**63,
    10**40,
    "",
    "x",
    "\x00",
    "a" * 5000,
    "\ud800",
    "text",
    "none",
    "auto",
    "\U0001f9ea",
    [],
    [[]],
    [None],
    [0],
    [4095],
    [4096],
    ["a", 1],
    [[1], [2, 3]],
    ["stop"] * 70,
    {},
    {"": None},
    {"1": 5},
    {"1": 1e300},
    {"type": "text"},
    {"type": "content", "content": ""},
    {"type": "content", "content": "hi ho"},
    {"enabled": False},
    {"method": "suffix"},
    {"method": "quantised"},
    {"include_usage": True},
    {"role": "user", "content": None},
    {"messages": 1},
    [{"role": "tool", "content": "x", "tool_call_id": ""}],
    [{"type": "function", "function": {"name": "f"}}],
    ["message.output_text.logprobs"],
]

EDGES: dict[str, list[Any]] = {
    "temperature": [0, 1e-6, 1.0, 1e30],
    "top_p": [1e-30, 0.5, 1],
    "top_k": [-1, 0, 1, 2**31],
    "min_p": [0, 1],
    "typical_p": [1e-30, 1],
    "repetition_penalty": [1e-4, 1e4],
    "presence_penalty": [-1e4, 1e4],
    "frequency_penalty": [-1e4, 1e4],
    "logit_bias": [{}, {"0": 1e4, "4095": -1e4}],
    "seed": [-(2**63), 0, 2**63 - 1],
    "n": [1, 8],
    "max_tokens": [0, 1],
    "min_tokens": [0, 3, 2**31],
    "stop": ["\n", [], ["a", "\U0001f9ea"]],
    "stop_token_ids": [[], [0, 4095]],
    "ignore_eos": [True, False],
    "stream": [True],
    "user": ["", "\U0001f9ea"],
    "speculation": [{}, {"enabled": False}, {"method": "suffix"}],
}
"""Values at the edge of what is served."""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of everything inside."""
    found = [path] if path else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [one for name, part in inside for one in places(part, (*path, name))]


def put(body: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    at: Any = body
    for name in path[:-1]:
        at = at[name]
    at[path[-1]] = value


def malformed(dice: random.Random) -> tuple[str, bytes]:
    path, body, fields = dice.choice(BODIES)
    body = {"model": "tiny", **copy.deepcopy(body)}
    for _ in range(dice.choice([1, 1, 2, 3])):
        kind = dice.random()
        if kind < 0.5:
            name = dice.choice(list(EDGES))
            body[name] = copy.deepcopy(dice.choice(EDGES[name]))
        elif kind < 0.65:
            put(body, dice.choice(places(body)), dice.choice(JUNK))
        else:
            body[dice.choice([*fields, "unknown"])] = copy.deepcopy(dice.choice(JUNK))
    content = json.dumps(body).encode()
    if dice.random() < 0.05:
        content = content[: dice.randrange(len(content))]
    return path, content


@pytest.mark.slow
def test_a_thousand_malformed_requests_break_nothing(served: Served) -> None:
    dice, statuses = random.Random(4), dict[int, int]()
    with httpx.Client(timeout=60) as client:
        for _ in range(1000):
            path, content = malformed(dice)
            answer = client.post(f"{served.url}/{path}", content=content, headers={"content-type": "application/json"})
            assert answer.status_code < 500, (path, content, answer.text)
            if answer.status_code != 200:
                assert answer.json()["error"]["message"]
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
    assert set(statuses) <= {200, 400, 404}
    assert statuses[200] > 100
    assert statuses[400] > 300
    assert served.client().completions.create(model="tiny", prompt="x", max_tokens=2).usage.completion_tokens == 2
