"""What a text has to be: `response_format`, `text.format` of responses, and `grammar`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from casspec.runtime.text.compiled_grammars import compiler_of
from casspec.runtime.text.grammar import Grammar
from casspec.server.api.fields import Fields
from casspec.server.errors import refused
from casspec.server.service import Service
from casspec.storage.errors import UnsupportedOption

Schema = dict[str, Any] | bool


class JsonSchema(Fields):
    """A schema under the name of `json_schema`. Name and description are labels."""

    name: str | None = None
    description: str | None = None
    json_schema: Schema = Field(alias="schema")
    strict: bool | None = None


class Format(Fields):
    """A response format: the kinds of OpenAI's API, with the schema where chats or where responses have it, and grammars.

    Texts follow the schema whether `strict` is set or not.
    """

    type: Literal["text", "json_object", "json_schema", "grammar", "regex", "lark", "gbnf"]
    json_schema: JsonSchema | None = None
    name: str | None = None
    description: str | None = None
    own_schema: Schema | None = Field(None, alias="schema")
    strict: bool | None = None
    syntax: str | None = None
    definition: str | None = None
    pattern: str | None = None
    grammar: str | None = None


Written = str | Format
"""A grammar beside the formats: GBNF as llama.cpp's clients send it, or a format."""

_FIELDS_OF = {
    "text": set[str](),
    "json_object": set[str](),
    "json_schema": {"json_schema", "name", "description", "schema", "strict"},
    "grammar": {"syntax", "definition"},
    "regex": {"pattern"},
    "lark": {"grammar"},
    "gbnf": {"grammar"},
}
"""Of each type."""


def format_options(
    service: Service, wanted: Format | None, param: str, grammar: Written | None = None
) -> dict[str, Any]:
    """Options of the engine that make the text one of the format, or of the grammar; the grammar is ready then.

    Args:
        param: the field that `wanted` stands in.

    Raises ApiError for what is none or cannot be honoured, and where both ask for something.
    """
    asked = _grammar(wanted, param)
    if grammar is not None:
        own = Grammar("gbnf", grammar) if isinstance(grammar, str) else _grammar(grammar, "grammar")
        if asked is not None:
            raise refused("grammar", f"{param} says what the text has to be; leave one of both out", "invalid_value")
        asked, param = own, "grammar"
    if asked is None:
        return {}
    ready(service, asked, param)
    return {"grammar": asked}


def ready(service: Service, grammar: Grammar, param: str) -> None:
    """Makes a grammar ready, so that no step waits for it. Raises ApiError for one that cannot be honoured."""
    target = service.engines.target
    try:
        compiler_of(target.tokenizer, target.vocab_size).check(grammar)
    except UnsupportedOption as error:
        raise refused(param, " ".join(str(error).split()), "invalid_value") from error


def _grammar(wanted: Format | None, param: str) -> Grammar | None:
    """The grammar of a format; None where the text is free."""
    if wanted is None:
        return None
    given = wanted.model_dump(by_alias=True, exclude_none=True)
    foreign = given.keys() - _FIELDS_OF[wanted.type] - {"type"}
    if foreign:
        raise refused(
            f"{param}.{min(foreign)}", f"a format of type {wanted.type} has none; leave it out", "invalid_value"
        )
    try:
        return Grammar.of(given)
    except UnsupportedOption as error:
        raise refused(param, str(error), "invalid_value") from error
