"""JSON that comes in pieces: where a value ends, and the calls that are in it."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from casspec.server.tool_calls.deltas import ToolCall

_OPENING, _CLOSING = "{[", "}]"


def end_of_value(text: str, begin: int) -> int | None:
    """Where the object or array that begins at `begin` ends; None while it has not. Only brackets and strings are looked at."""
    depth, in_string, escaped = 0, False, False
    for place in range(begin, len(text)):
        character = text[place]
        if in_string:
            in_string = escaped or character != '"'
            escaped = not escaped and character == "\\"
        elif character == '"':
            in_string = True
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
            if depth <= 0:
                return place + 1
    return None


def value_of(text: str) -> Any:
    """JSON of a text; None where it is none."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def call_of(value: Any, names: Collection[str] | None) -> ToolCall | None:
    """A call from `{"name", "arguments" or "parameters"}`; None where it is none of `names`. Arguments may be JSON as a string."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    found = value.get("arguments", value.get("parameters", {}))
    return made_call(value["name"], value_of(found) if isinstance(found, str) else found, names)


def made_call(name: str, arguments: Any, names: Collection[str] | None) -> ToolCall | None:
    """A call of one of `names` (None for any) with an object for arguments, else None."""
    if not isinstance(arguments, dict) or (names is not None and name not in names):
        return None
    return ToolCall(name, json.dumps(arguments, ensure_ascii=False))


def calls_of(value: Any, names: Collection[str] | None) -> list[ToolCall] | None:
    """Calls of an object, or of an array of them; None where one of them is none."""
    listed = value if isinstance(value, list) else [value]
    calls = [call for one in listed if (call := call_of(one, names)) is not None]
    return calls if calls and len(calls) == len(listed) else None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
