"""Rules of calls that are written in tags, or as Python: a tool's parameters in the order of its schema."""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any

from casspec.server.tool_calls.lark import EMPTY, LarkRules, any_of, in_turn
from casspec.storage.errors import UnsupportedOption

Refusal = Callable[[str], UnsupportedOption]

_LABELS = frozenset({"title", "description", "default", "examples", "deprecated", "$comment", "$schema", "$id"})
_OF_OBJECTS = _LABELS | {"type", "properties", "required", "additionalProperties", "$defs", "definitions"}
_OF_TEXTS = _LABELS | {"type", "enum", "const", "minLength", "maxLength"}

_TAG_KEY = re.compile(r"[^\s<>]+")
_ANY_KEY = "/[A-Za-z_][A-Za-z0-9_]*/"


def tag_arguments(
    rules: LarkRules, name: str, schema: Any, before: str, between: str, after: str, ends: tuple[str, ...]
) -> str:
    """Arguments as keys and values in tags.

    What the schema calls a string is written as it stands, anything else as JSON.

    Args:
        before, between, after: around a key and a value. ends: what may not stand in a string.

    Raises UnsupportedOption for a schema that values in tags cannot be held to.
    """

    def refused(fault: str) -> UnsupportedOption:
        return _refused(name, fault)

    def pair(key: str, value: Any) -> str:
        if not _TAG_KEY.fullmatch(key):
            raise refused(f"{key!r} is no name for a tag")
        return in_turn(rules.written(before + key + between), _tag_value(rules, key, value, after, ends, refused))

    listed = _properties(schema, refused)
    if listed is None:
        any_value = in_turn(rules.json(True), rules.written(after))
        return f"({in_turn(rules.written(before), rules.terminal(_ANY_KEY), rules.written(between), any_value)})*"
    return in_turn(*(pair(key, value) if needed else f"({pair(key, value)})?" for key, value, needed in listed))


def python_arguments(rules: LarkRules, name: str, schema: Any) -> str:
    """Arguments as those of a call in Python, by keyword, their values JSON. Errors as of `tag_arguments`."""

    def refused(fault: str) -> UnsupportedOption:
        return _refused(name, fault)

    if not _is_python_name(name):
        raise refused("the tool's name is none in Python")
    listed = _properties(schema, refused)
    if listed is None:
        one = rules.rule(in_turn(rules.terminal(_ANY_KEY), '"="', rules.json(True)))
        return f'({one} (", " {one})*)?'
    first, later = EMPTY, EMPTY  # what follows, without and with an argument before
    for key, value, needed in reversed(listed):
        if not _is_python_name(key):
            raise refused(f"{key!r} is no name in Python")
        argument = rules.rule(in_turn(rules.written(f"{key}="), rules.json(value)))
        begun, gone_on = f"{argument} {later}", f'", " {argument} {later}'
        first, later = (
            rules.rule(begun if needed else f"{begun} | {first}"),
            rules.rule(gone_on if needed else f"{gone_on} | {later}"),
        )
    return first


def _properties(schema: Any, refused: Refusal) -> list[tuple[str, Any, bool]] | None:
    """(name, schema, whether it has to come) in order; None where any may come."""
    if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
        raise refused("its parameters are no object")
    foreign = schema.keys() - _OF_OBJECTS
    if foreign:
        raise refused(f"its parameters have {min(foreign)!r}")
    listed, needed = schema.get("properties") or {}, schema.get("required") or ()
    if not isinstance(listed, Mapping) or not set(needed) <= listed.keys():
        raise refused("its parameters require what they do not describe")
    if not listed:
        return [] if schema.get("additionalProperties") is False else None
    shared = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    return [
        (key, {**value, **shared} if isinstance(value, Mapping) else value, key in needed)
        for key, value in listed.items()
    ]


def _tag_value(rules: LarkRules, key: str, schema: Any, after: str, ends: tuple[str, ...], refused: Refusal) -> str:
    """A value and what stands after it."""
    if not isinstance(schema, Mapping) or schema.get("type") != "string":
        return in_turn(rules.json(schema), rules.written(after))
    foreign = schema.keys() - _OF_TEXTS - {"$defs", "definitions"}
    if foreign:
        raise refused(f"{key} has {min(foreign)!r}")
    texts = [schema["const"]] if "const" in schema else schema.get("enum")
    if texts is None:
        stop = next(end for end in ends if after.lstrip("\n").startswith(end))
        lead = after[: after.index(stop)]
        least, most = int(schema.get("minLength", 0)), schema.get("maxLength")
        rest = after[after.index(stop) + len(stop) :]
        return in_turn(rules.text_until(lead + stop, ends, least, most), rules.written(rest))
    if not all(isinstance(text, str) and not any(end in text for end in ends) for text in texts):
        raise refused(f"{key} may be what tags cannot hold")
    return in_turn(any_of(rules.written(text) or EMPTY for text in texts), rules.written(after))


def _is_python_name(name: str) -> bool:
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


def _refused(name: str, fault: str) -> UnsupportedOption:
    return UnsupportedOption(
        f"a call of the tool {name} cannot be forced with this model, whose calls hold no JSON: {fault}; "
        "change the schema, or leave tool_choice at 'auto' without strict"
    )
