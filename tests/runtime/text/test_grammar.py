"""What a grammar may be given as."""

from __future__ import annotations

import json
from typing import Any

import pytest

from casspec.runtime.text.grammar import MOST_CHARACTERS, Grammar
from casspec.storage.errors import UnsupportedOption

SCHEMA = {"type": "array", "items": {"type": "integer"}}


@pytest.mark.parametrize(
    ("asked", "grammar"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Grammar("json_schema", '{"type": "object"}')),
        (
            {"type": "json_schema", "json_schema": {"name": "numbers", "strict": True, "schema": SCHEMA}},
            Grammar("json_schema", json.dumps(SCHEMA)),
        ),
        ({"type": "json_schema", "name": "numbers", "schema": SCHEMA}, Grammar("json_schema", json.dumps(SCHEMA))),
        ({"type": "grammar", "syntax": "lark", "definition": "start: A"}, Grammar("lark", "start: A")),
        ({"type": "grammar", "syntax": "regex", "definition": "a+"}, Grammar("regex", "a+")),
        ({"type": "regex", "pattern": "a+"}, Grammar("regex", "a+")),
        ({"type": "gbnf", "grammar": "root ::= [a]"}, Grammar("gbnf", "root ::= [a]")),
        (Grammar("regex", "a"), Grammar("regex", "a")),
    ],
)
def test_response_formats_are_grammars(asked: Any, grammar: Grammar | None) -> None:
    assert Grammar.of(asked) == grammar


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"type": "xml"}, "no response format of type 'xml'; types: text, json_object"),
        ({}, "no response format of type None"),
        ([], "a grammar is a response format"),
        ({"type": "json_schema"}, "holds a schema under json_schema.schema"),
        ({"type": "json_schema", "json_schema": {"schema": 3}}, "a JSON schema is an object, not 3"),
        ({"type": "json_schema", "schema": {"const": float("nan")}}, "cannot be written as JSON"),
        ({"type": "grammar", "syntax": "bnf", "definition": ""}, "syntax is one of regex, lark, gbnf, not 'bnf'"),
        ({"type": "regex"}, "holds a text under pattern"),
    ],
)
def test_anything_else_is_refused_in_one_line(asked: Any, named: str) -> None:
    with pytest.raises(UnsupportedOption, match=named) as refusal:
        Grammar.of(asked)
    assert "\n" not in str(refusal.value)


def test_a_grammar_has_a_kind_and_a_bounded_text() -> None:
    with pytest.raises(UnsupportedOption, match="the text of one of json_schema, regex, lark, gbnf"):
        Grammar("yaml", "a")  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOption, match="up to 1048576 characters"):
        Grammar("regex", "a" * (MOST_CHARACTERS + 1))
