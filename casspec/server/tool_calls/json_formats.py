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
from casspec.server.tool_calls.json_text import (
    JsonArguments,
    call_header,
    calls_of,
    end_of_value,
    may_become,
    past_space,
    value_of,
)
from casspec.server.tool_calls.stream import Begun, Block, Tools


@dataclass(frozen=True)
class MarkedJson:
    """JSON of one call or an array of calls behind a marker.

    Args:
        closer: what ends a block; "" where the JSON does. One that never comes is not missed.
    """

    markers: tuple[str, ...]
    closer: str = ""
    only_first: bool = False

    def read(self, text: str, tools: Tools | None, is_last: bool) -> Block | Begun | None:
        marker = max((one for one in self.markers if text.startswith(one)), key=len)
        begin = past_space(text, 0 if marker in "{[" else len(marker))
        if begin == len(text):
            return None
        if text[begin] not in "{[":
            return Block(len(marker))
        is_listed = text[begin] == "["
        header = call_header(text, begin + is_listed, tools)
        if header is None:
            return None
        if header[1] is not None:
            return Begun(header[0], header[1], JsonArguments(), is_listed)
        return self._whole(text, begin, tools, is_last)

    def go_on(self, text: str, begun: Begun, tools: Tools | None, is_last: bool) -> Block | Begun | None:
        more = Block(len(text)) if is_last else None
        place = past_space(text, 0)
        if place == len(text):
            return more
        if text[place] == ",":  # other fields than name and arguments
            end = end_of_value(text, place, depth=1)
            if end is None:
                return more
            place = end
        elif text[place] == "}":
            place += 1
        if begun.is_listed:
            after = past_space(text, place)
            if after == len(text):
                return more
            if text[after] == ",":
                header = call_header(text, after + 1, tools)
                if header is None and not is_last:
                    return None
                return Begun(header[0], header[1], JsonArguments(), True) if header and header[1] else Block(place)
            if text[after] != "]":
                return Block(place)
            place = after + 1
        return self._closed(text, place, [], is_last)

    def _whole(self, text: str, begin: int, tools: Tools | None, is_last: bool) -> Block | None:
        """A block whose calls are written in another order, or are none."""
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

    def read(self, text: str, tools: Tools | None, is_last: bool) -> Block | Begun | None:
        found = self._header(text, len(self._opener), tools)
        if found is None:
            return None
        return Block(max(found, len(self.markers[0]))) if isinstance(found, int) else found

    def go_on(self, text: str, begun: Begun, tools: Tools | None, is_last: bool) -> Block | Begun | None:
        place = past_space(text, 0)
        if self._closer and text.startswith(self._closer, place):
            place += len(self._closer)
        elif self._closer and may_become((self._closer,), text[place:]):
            return Block(len(text)) if is_last else None
        if not self._opener:
            return Block(place)
        after = past_space(text, place)
        if text.startswith(self._ending, after):
            return Block(after + len(self._ending))
        if may_become((self._ending,), text[after:]):
            return Block(len(text)) if is_last else None
        found = self._header(text, after, tools)
        if found is None:
            return Block(place) if is_last else None
        return Block(place) if isinstance(found, int) else found

    def _header(self, text: str, begin: int, tools: Tools | None) -> Begun | int | None:
        """The call that begins there; None while more has to be seen, and where it is seen that none does."""
        begin = past_space(text, begin)
        if not text.startswith(self._marker, begin):
            return None if may_become((self._marker,), text[begin:]) else 0
        begin += len(self._marker)
        header = self._pattern.match(text, begin)
        if header is None:
            return begin if len(text) - begin > self._longest else None
        start = past_space(text, header.end())
        if start == len(text):
            return None
        name = header["name"].strip()
        if text[start] != "{" or (tools is not None and name not in tools):
            return start
        return Begun(start, name, JsonArguments())
