"""What a text may be at all: JSON, JSON of a schema, a regular expression, a grammar.

A grammar is an option of a request like any other. `compiled_grammars.py` makes it ready for a tokenizer, `grammar_state.py` follows it
along a text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from casspec.storage.errors import UnsupportedOption

Kind = Literal["json_schema", "regex", "lark", "gbnf"]

MOST_CHARACTERS = 1 << 20
"""Of a grammar's text."""

_TEXT_OF = {"regex": "pattern", "lark": "grammar", "gbnf": "grammar"}
"""Where a response format holds its text, by type."""


@dataclass(frozen=True)
class Grammar:
    """A grammar that a whole text follows.

    A schema is JSON Schema as llguidance reads it. There `x-guidance` sets how it is written: `{"whitespace_flexible": false}` leaves out
    all white space. A regular expression is of Rust's `regex` syntax and covers the whole text. `lark` is llguidance's Lark,
    `gbnf` that of llama.cpp.

    Raises UnsupportedOption for a kind that is none of these, or a text too long.
    """

    kind: Kind
    text: str

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or not isinstance(self.text, str):
            raise UnsupportedOption(
                f"a grammar is the text of one of {', '.join(get_args(Kind))}, not of {self.kind!r}"
            )
        if len(self.text) > MOST_CHARACTERS:
            raise UnsupportedOption(f"a grammar has up to {MOST_CHARACTERS} characters, not {len(self.text)}")

    @classmethod
    def json_object(cls) -> Self:
        """Any JSON object."""
        return cls.json_schema({"type": "object"})

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | bool) -> Self:
        """JSON that a schema describes. Raises UnsupportedOption for what is no JSON."""
        if not isinstance(schema, Mapping | bool):
            raise UnsupportedOption(f"a JSON schema is an object, not {schema!r}")
        try:
            return cls("json_schema", json.dumps(schema, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise UnsupportedOption(f"the JSON schema cannot be written as JSON: {error}") from error

    @classmethod
    def of(cls, asked: Grammar | Mapping[str, Any]) -> Grammar | None:
        """From a grammar or a response format; None for plain text.

        Response formats are OpenAI's `{"type": "text"}`, `{"type": "json_object"}`, `{"type": "json_schema", "json_schema": {"schema":
        {...}}}` or the same with `schema` beside the type, `{"type": "grammar", "syntax": "lark" or "regex", "definition": "..."}`, and
        `{"type": "regex", "pattern": "..."}`, `{"type": "lark", "grammar": "..."}`, `{"type": "gbnf", "grammar": "..."}`.

        Raises UnsupportedOption for any other.
        """
        if isinstance(asked, Grammar):
            return asked
        if not isinstance(asked, Mapping):
            raise UnsupportedOption(f"a grammar is a response format with a type, not {asked!r}")
        kind = asked.get("type")
        if kind == "text":
            return None
        if kind == "json_object":
            return cls.json_object()
        if kind == "json_schema":
            inner = asked.get("json_schema", asked)
            if not isinstance(inner, Mapping) or "schema" not in inner:
                raise UnsupportedOption("a response format of type json_schema holds a schema under json_schema.schema")
            return cls.json_schema(inner["schema"])
        if kind == "grammar":
            return cls(_one_of(asked.get("syntax")), _text(asked, "definition"))
        if kind in _TEXT_OF:
            return cls(kind, _text(asked, _TEXT_OF[kind]))
        raise UnsupportedOption(
            f"no response format of type {kind!r}; types: text, json_object, json_schema, grammar, {', '.join(_TEXT_OF)}"
        )


def _one_of(syntax: Any) -> Any:
    if syntax not in _TEXT_OF:
        raise UnsupportedOption(f"a grammar's syntax is one of {', '.join(_TEXT_OF)}, not {syntax!r}")
    return syntax


def _text(asked: Mapping[str, Any], name: str) -> str:
    if not isinstance(asked.get(name), str):
        raise UnsupportedOption(f"a response format of type {asked['type']} holds a text under {name}")
    return str(asked[name])
