"""JSON that comes in pieces: where a call's arguments begin, where a value ends, and the calls that are in it."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from casspec.server.tool_calls.deltas import ToolCall

_OPENING, _CLOSING = "{[", "}]"

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)

_HALF_PAIR = re.compile("[\ud800-\udfff]")


class JsonArguments:
    """Arguments that are a JSON object, told as they are written. Only brackets and strings are looked at.

    Args:
        depth: brackets that are open before.
    """

    def __init__(self, depth: int = 0) -> None:
        self._depth, self._in_string, self._escaped = depth, False, False

    def read(self, text: str, is_last: bool) -> tuple[int, str, bool]:
        for place, character in enumerate(text):
            if self._in_string:
                self._in_string = self._escaped or character != '"'
                self._escaped = not self._escaped and character == "\\"
            elif character == '"':
                self._in_string = True
            elif character in _OPENING:
                self._depth += 1
            elif character in _CLOSING:
                self._depth -= 1
                if self._depth <= 0:
                    return place + 1, text[: place + 1], True
        return len(text), text, False


def end_of_value(text: str, begin: int, depth: int = 0) -> int | None:
    """Where the object or array that begins at `begin` ends; None while it has not.

    Args:
        depth: brackets that are open before.
    """
    length, _, is_over = JsonArguments(depth).read(text[begin:], is_last=False)
    return begin + length if is_over else None


def call_header(text: str, begin: int, names: Collection[str] | None) -> tuple[int, str | None] | None:
    """Of a call that begins with its name: where its arguments begin, and the name; None while more has to be seen.

    The name is None where none of `names` is called so, up to an object of arguments: by the order of the JSON, or otherwise.
    """
    place, name = begin, None
    for part in ("{", '"name"', ":", None, ",", ('"arguments"', '"parameters"'), ":", "{"):
        place = past_space(text, place)
        rest = text[place : place + 13]
        if part is None:
            found = _STRING.match(text, place)
            if found is None:
                return (begin, None) if rest and rest[0] != '"' else None
            name, place = value_of(found[0]), found.end()
            if not isinstance(name, str) or (names is not None and name not in names):
                return begin, None
            continue
        is_there = next((one for one in (part if isinstance(part, tuple) else (part,)) if rest.startswith(one)), None)
        if is_there is None:
            return None if may_become(part if isinstance(part, tuple) else (part,), rest) else (begin, None)
        place += len(is_there)
    return place - 1, name


def past_space(text: str, place: int) -> int:
    """Where something else stands, at or after a place."""
    return len(text) - len(text[place:].lstrip())


def may_become(markers: Collection[str], text: str) -> bool:
    """Whether a text is the beginning of one of them."""
    return any(marker.startswith(text) for marker in markers if marker)


def value_of(text: str) -> Any:
    """JSON of a text; None where it is none."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None


def json_of(value: Any) -> str:
    """JSON of a value. Half a surrogate pair, which is no character, stays an escape."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() or not _HALF_PAIR.search(text) else json.dumps(value)


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
    return ToolCall(name, json_of(arguments))


def calls_of(value: Any, names: Collection[str] | None) -> list[ToolCall] | None:
    """Calls of an object, or of an array of them; None where one of them is none."""
    listed = value if isinstance(value, list) else [value]
    calls = [call for one in listed if (call := call_of(one, names)) is not None]
    return calls if calls and len(calls) == len(listed) else None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
