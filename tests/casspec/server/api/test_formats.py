"""Texts that have to be JSON, follow a schema or a grammar, asked for through OpenAI's own client at every endpoint."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import openai
import pytest

from casspec.runtime.text import compiled_grammars
from casspec.runtime.text.grammar import Grammar
from casspec.server.api.formats import Format, format_options
from casspec.server.errors import ApiError
from tests.casspec.server.serving import Served, alone, target_of

SCHEMA = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "sort": {"enum": ["oak", "elm", None]}},
    "required": ["ok", "sort"],
    "additionalProperties": False,
    "x-guidance": {"whitespace_flexible": False},
}
CHAT_FORMAT = {"type": "json_schema", "json_schema": {"name": "tree", "strict": True, "schema": SCHEMA}}
RESPONSE_FORMAT = {"type": "json_schema", "name": "tree", "strict": True, "schema": SCHEMA}
MESSAGES = [{"role": "user", "content": "a tree"}]
WORDS = 'root ::= ("oak" | "elm") " tree"'
SAMPLED = {"temperature": 1.2, "seed": 3}


def chat(served: Served, **fields: Any) -> Any:
    return served.client().chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=60, **fields)


def is_tree(text: str) -> bool:
    found = json.loads(text)
    return list(found) == ["ok", "sort"] and found["sort"] in ("oak", "elm", None) and isinstance(found["ok"], bool)


@pytest.mark.parametrize("speculation", [None, {"enabled": False}, {"method": "suffix"}])
@pytest.mark.parametrize("sampling", [{}, SAMPLED])
def test_a_chat_follows_a_schema(served: Served, speculation: Any, sampling: dict[str, Any]) -> None:
    fields = {"response_format": CHAT_FORMAT, "extra_body": {"speculation": speculation}, **sampling}
    answer = chat(served, **fields)
    text = answer.choices[0].message.content
    assert is_tree(text)
    assert answer.choices[0].finish_reason == "stop"
    streamed = chat(served, **fields, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed) == text


def test_completions_and_responses_do_too(served: Served) -> None:
    client = served.client()
    options: dict[str, Any] = {"extra_body": {"response_format": CHAT_FORMAT}, "max_tokens": 60}
    told = client.completions.create(model="tiny", prompt="a tree", n=2, **SAMPLED, **options)
    assert all(is_tree(choice.text) for choice in told.choices)
    response = client.responses.create(
        model="tiny", input="a tree", max_output_tokens=60, text={"format": RESPONSE_FORMAT}
    )
    assert is_tree(response.output_text)
    assert response.text.format.schema_ == SCHEMA


def test_the_text_is_the_decoders_own_within_the_grammar(served: Served) -> None:
    prompt = target_of().tokenizer.encode("a tree")
    format_of = {"type": "json_object"}
    fields: dict[str, Any] = {"model": "tiny", "prompt": prompt, "max_tokens": 30}
    text = served.client().completions.create(**fields, extra_body={"response_format": format_of}).choices[0].text
    assert text == alone(prompt, max_new_tokens=30, grammar=format_of).text
    assert text.lstrip().startswith("{")


@pytest.mark.parametrize(
    ("grammar", "pattern"),
    [
        (WORDS, "(oak|elm) tree"),
        ({"type": "gbnf", "grammar": WORDS}, "(oak|elm) tree"),
        ({"type": "lark", "grammar": 'start: ("oak" | "elm") " tree"'}, "(oak|elm) tree"),
        ({"type": "regex", "pattern": "[a-c]{3}"}, "[a-c]{3}"),
        ({"type": "grammar", "syntax": "regex", "definition": "[a-c]{3}"}, "[a-c]{3}"),
        ({"type": "json_schema", "schema": {"const": "oak"}}, '"oak"'),
    ],
)
def test_grammars_of_every_kind_are_taken(served: Served, grammar: Any, pattern: str) -> None:
    assert re.fullmatch(pattern, chat(served, extra_body={"grammar": grammar}).choices[0].message.content)
    if isinstance(grammar, dict):
        told = chat(served, extra_body={"response_format": grammar})
        assert re.fullmatch(pattern, told.choices[0].message.content)


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"response_format": {"type": "xml"}}, "response_format.type", "json_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "holds a schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format", "schema"),
        ({"response_format": {"type": "json_schema", "schema": {"type": "wood"}}}, "response_format", "JSON schema"),
        ({"response_format": {"type": "json_object", "schema": {}}}, "response_format.schema", "leave it out"),
        ({"response_format": {"type": "json_object", "depth": 3}}, "response_format.depth", "leave it out"),
        ({"extra_body": {"grammar": "root ::= ("}}, "grammar", "gbnf grammar cannot be honoured"),
        ({"extra_body": {"grammar": {"type": "regex", "pattern": "("}}}, "grammar", "regular expression"),
        ({"extra_body": {"grammar": WORDS, "response_format": {"type": "json_object"}}}, "grammar", "one of both"),
    ],
)
def test_what_is_no_format_is_refused_by_name(served: Served, fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(openai.BadRequestError, match=says) as refusal:
        chat(served, **fields)
    assert str(refusal.value.param).startswith(param)


def test_plain_text_asks_for_nothing(served: Served) -> None:
    assert format_options(served.service, Format(type="text"), "response_format") == {}
    asked = format_options(served.service, Format(type="text"), "response_format", WORDS)
    assert asked == {"grammar": Grammar("gbnf", WORDS)}


def test_without_the_library_the_refusal_says_what_to_install(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    monkeypatch.setattr(compiled_grammars, "_compilers", {})
    with pytest.raises(ApiError, match=r"pip install 'casspec\[grammar\]'") as refusal:
        format_options(served.service, Format(type="json_object"), "text.format")
    assert (refusal.value.status, refusal.value.param) == (400, "text.format")
