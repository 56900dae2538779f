"""Formats that write arguments as keys and values in tags.

| family | a block |
|---|---|
| Qwen3-Coder | `<tool_call><function=name><parameter=key>\\nvalue\\n</parameter> ... </function></tool_call>` |
| GLM 4.5 | `<tool_call>name<arg_key>key</arg_key><arg_value>value</arg_value> ... </tool_call>` |

Values between tags are text: what a tool's schema calls a string stays one, and is told as it comes. Anything else is JSON where it can be
read as such, and is told once it is whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from casspec.server.tool_calls.json_text import json_of, may_become, past_space, value_of
from casspec.server.tool_calls.stream import Begun, Block, Tools, first_marker

LONGEST = 256
"""Characters of a name or a key."""


@dataclass(frozen=True)
class Pairs:
    """Calls of keys and values.

    Args:
        opener: of a call. name: its name and what stands around it, with a group; it ends where the first key or `end` begins.
        key: what stands before and after a key, up to its value. value_end: what ends a value. end, closer: of a call.
    """

    opener: str
    name: str
    key: tuple[str, ...]
    value_end: str
    end: str
    closer: str = ""
    only_first = False

    @property
    def markers(self) -> tuple[str, ...]:
        return (self.opener,)

    def read(self, text: str, tools: Tools | None, is_last: bool) -> Block | Begun | None:
        begin = len(self.opener)
        found = re.compile(self.name).match(text, begin)
        if found is None or found.end() == len(text):
            return None if len(text) - begin <= LONGEST else Block(begin)
        name, place = found[1], found.end()
        if tools is not None and name not in tools:
            return Block(begin)
        if not text.startswith(self.end, place):
            if may_become((self.end,), text[place:]) and not is_last:
                return None
            key = self.key_of(text, place)
            if key is None or key[1] is None:
                return None if key is None and not is_last else Block(begin)
        return Begun(place, name, PairArguments(self, (tools or {}).get(name)))

    def go_on(self, text: str, begun: Begun, tools: Tools | None, is_last: bool) -> Block | None:
        place = past_space(text, 0)
        for part in (self.end, self.closer):
            if part and text.startswith(part, place):
                place = past_space(text, place + len(part))
            elif part and may_become((part,), text[place:]):
                return Block(len(text)) if is_last else None
        return Block(place)

    def key_of(self, text: str, begin: int) -> tuple[int, str | None] | None:
        """Where the value of a key that begins there begins, and the key, or None for it; None while more has to be seen."""
        before, after, *rest = self.key
        if not text.startswith(before, begin):
            return None if may_become((before,), text[begin:]) else (begin, None)
        end = text.find(after, begin + len(before))
        if end < 0:
            return None if len(text) - begin <= LONGEST else (begin, None)
        key, place = text[begin + len(before) : end], end + len(after)
        for part in rest:
            place = past_space(text, place)
            if not text.startswith(part, place):
                return None if may_become((part,), text[place:]) else (begin, None)
            place += len(part)
        return place, key


class PairArguments:
    """Reads keys and values of a call, and writes them as JSON.

    Args:
        schema: of the arguments.
    """

    def __init__(self, form: Pairs, schema: Any) -> None:
        self._form = form
        properties = schema.get("properties") if isinstance(schema, dict) else None
        self._properties = properties if isinstance(properties, dict) else {}
        self._ends = (f"\n{form.value_end}", form.value_end) if form.key[-1] == ">" else (form.value_end,)
        self._n_pairs = 0
        self._key: str | None = None  # of the value that is being read
        self._is_at_begin = False

    def read(self, text: str, is_last: bool) -> tuple[int, str, bool]:
        place, told, is_over = 0, "", False
        while not is_over:
            step = self._pair(text, place, is_last) if self._key is None else self._value(text, place, is_last)
            if step is None:
                break
            place, piece, is_over = step
            told += piece
        return place, told, is_over

    def _pair(self, text: str, begin: int, is_last: bool) -> tuple[int, str, bool] | None:
        """Reads a key, or that there is none any more; None while more has to be seen."""
        place = past_space(text, begin)
        found = self._form.key_of(text, place)
        if found is None:
            return None
        if found[1] is None:
            rest = text[place:]
            if rest != self._form.end and may_become((self._form.end,), rest) and not is_last:
                return None
            return begin, "}" if self._n_pairs else "{}", True
        self._key, self._is_at_begin = found[1], True
        head = (", " if self._n_pairs else "{") + json_of(found[1]) + ": "
        self._n_pairs += 1
        return found[0], head + ('"' if self._is_text() else ""), False

    def _value(self, text: str, begin: int, is_last: bool) -> tuple[int, str, bool] | None:
        """Reads what is there of a value; None while more has to be seen."""
        if self._is_at_begin and len(self._ends) > 1:
            if begin == len(text):
                return None
            begin += text[begin] == "\n"
        rest = text[begin:]
        length = first_marker(rest, self._ends, is_last)
        end = next((one for one in self._ends if rest.startswith(one, length)), None)
        if not self._is_text() and end is None:
            return None
        if self._is_text():
            if end is None and not length:
                return None
            self._is_at_begin = False
            told = json_of(rest[:length])[1:-1]
            if end is None:
                return begin + length, told, False
            told += '"'
        else:
            value = value_of(rest[:length])
            is_null = rest[:length].strip() == "null"
            is_text = not is_null and (value is None or (self._may_be_text_only() and not isinstance(value, str)))
            told = json_of(rest[:length] if is_text else value)
        self._key = None
        return begin + length + len(end or ""), told, False

    def _may_be_text_only(self) -> bool:
        """Whether the value is a string or null."""
        asked = self._properties.get(self._key)
        if not isinstance(asked, dict):
            return False
        ways = [asked, *asked.get("anyOf", ()), *asked.get("oneOf", ())]
        kinds = {kind for way in ways if isinstance(way, dict) for kind in _kinds(way)}
        return "string" in kinds and kinds <= {"string", "null"}

    def _is_text(self) -> bool:
        asked = self._properties.get(self._key)
        return isinstance(asked, dict) and asked.get("type") == "string"


def _kinds(schema: Mapping[str, Any]) -> Sequence[str]:
    """Types that a schema names itself."""
    named = schema.get("type", ())
    return [named] if isinstance(named, str) else list(named)
