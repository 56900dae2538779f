"""Formats that write calls as JSON between markers.

| family | a block |
|---|---|
| Hermes, Qwen 2.5 and 3, SmolLM3, Granite 4 | `<tool_call>{"name", "arguments"}</tool_call>` |
| Llama 3.x | `{"name", "parameters"}` as the whole message, several with `;` between them |
| Mistral | `[TOOL_CALLS][{"name", "arguments"}, ...]`, later `[TOOL_CALLS]name[ARGS]{...}` |
| Granite 3 | `<|tool_call|>[{"name", "arguments"}, ...]` |
| Phi-4-mini | `<|tool_call|>[...]<|/tool_call|>` or `functools[...]` |
| DeepSeek V3 | `<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>name`, JSON in a code fence, and the ends |
| DeepSeek V3.1 | the same with `name<｜tool▁sep｜>{...}` |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from casspec.server.tool_calls.deltas import ToolCall
from casspec.server.tool_calls.json_text import calls_of, end_of_value, made_call, value_of
from casspec.server.tool_calls.stream import Block, Tools


@dataclass(frozen=True)
class MarkedJson:
    """JSON of one call or an array of calls behind a marker.

    Args:
        closer: what ends a block; "" where the JSON does. One that never comes is not missed.
    """

    markers: tuple[str, ...]
    closer: str = ""
    only_first: bool = False

    def read(self, text: str, tools: Tools | None, is_last: bool) -> Block | None:
        marker = max((one for one in self.markers if text.startswith(one)), key=len)
        begin = 0 if marker in "{[" else len(marker)
        begin += len(text[begin:]) - len(text[begin:].lstrip())
        if begin == len(text):
            return None
        if text[begin] not in "{[":
            return Block(len(marker))
        end = end_of_value(text, begin)
        if end is None:
            return None
        calls = calls_of(value_of(text[begin:end]), tools)
        if calls is None:
            return Block(end)
        return self._closed(text, end, calls, is_last)

    def _closed(self, text: str, end: int, calls: list[ToolCall], is_last: bool) -> Block | None:
        rest = text[end:].lstrip()
        if self.closer and rest.startswith(self.closer):
            return Block(len(text) - len(rest) + len(self.closer), calls)
        if self.closer and self.closer.startswith(rest):
            return Block(len(text), calls) if is_last else None
        return Block(end, calls)


class NamedJson:
    """A name behind a marker, then a separator and the arguments.

    Args:
        marker: of a call. pattern: of the name and the separator, with groups `name` and perhaps `id`; `longest` is what it may take.
        closer: what ends a call; "" where the JSON does.
        opener, ending: around several calls; "" without.
    """

    only_first = False

    def __init__(
        self,
        marker: str,
        pattern: str,
        closer: str = "",
        opener: str = "",
        ending: str = "",
        longest: int = 256,
    ) -> None:
        self.markers: tuple[str, ...] = (opener or marker,)
        self._marker, self._pattern, self._longest = marker, re.compile(pattern), longest
        self._closer, self._opener, self._ending = closer, opener, ending

    def read(self, text: str, tools: Tools | None, is_last: bool) -> Block | None:
        place, calls = len(self._opener), list[ToolCall]()
        while True:
            place = _past_space(text, place)
            if calls and self._ending and text.startswith(self._ending, place):
                return Block(place + len(self._ending), calls)
            if calls and not self._opener:
                return Block(place, calls)
            if not text.startswith(self._marker, place):
                if _may_become((self._marker, self._ending), text[place:]) and not (is_last and calls):
                    return None
                return Block(place, calls) if calls else Block(len(self.markers[0]))
            found = self._one(text, place + len(self._marker), tools)
            if found is None and not (is_last and calls):
                return None
            end, call = found or (place, None)
            if call is None:
                return Block(place, calls) if calls else Block(end)
            place = end
            calls.append(call)

    def _one(self, text: str, begin: int, tools: Tools | None) -> tuple[int, ToolCall | None] | None:
        """Where a call ends, and it; None for the call where it is none; None while more has to be seen."""
        header = self._pattern.match(text, begin)
        if header is None:
            return (begin, None) if len(text) - begin > self._longest else None
        start = _past_space(text, header.end())
        if start == len(text):
            return None
        if text[start] != "{":
            return start, None
        end = end_of_value(text, start)
        if end is None:
            return None
        call = made_call(header["name"].strip(), value_of(text[start:end]), tools)
        if call is None:
            return end, None
        closed = _past_space(text, end)
        if not self._closer or text.startswith(self._closer, closed):
            return (closed + len(self._closer) if self._closer else end), call
        return None if self._closer.startswith(text[closed:]) else (end, None)


def _past_space(text: str, place: int) -> int:
    return len(text) - len(text[place:].lstrip())


def _may_become(markers: tuple[str, ...], text: str) -> bool:
    return any(marker.startswith(text) for marker in markers if marker)
