"""Text in pieces becomes content and calls.

Calls stand in blocks. A block begins with a marker of its format and is held back until it is decided: either it holds calls, or its first
characters are content after all. That is decided by the characters before, never by where pieces were cut, so any cutting comes to the
same. White space before and after a block of calls belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from casspec.server.tool_calls.deltas import ContentDelta, Delta, Message, ToolCall, ToolCallDelta, joined, new_id

PIECE = 24
"""Characters of arguments in a delta."""


@dataclass(frozen=True, slots=True)
class Block:
    """What a block was decided to be.

    Attributes:
        length: of its text. calls: [] where that text is content.
    """

    length: int
    calls: Sequence[ToolCall] = ()


Tools = Mapping[str, Any]
"""By name, the schema of each tool's parameters."""


class BlockFormat(Protocol):
    """How a family writes calls."""

    @property
    def markers(self) -> tuple[str, ...]:
        """What a block begins with."""

    @property
    def only_first(self) -> bool:
        """Whether a block stands at the beginning of a message, or behind another one, and nowhere else."""

    def read(self, text: str, tools: Tools | None, is_last: bool) -> Block | None:
        """The block that `text` begins with, at a marker; None while more has to be seen.

        Args:
            tools: whose calls count; None for any. is_last: nothing follows.
        """


class ToolCallReader(Protocol):
    """Reads one message as it comes."""

    def push(self, piece: str) -> list[Delta]:
        """What is certain with one more piece."""

    def finish(self) -> list[Delta]:
        """The rest; no piece follows."""


class ToolCallStream:
    """Reads a message of a format of blocks.

    Args:
        tools: a block that calls anything else is content. None for any.
        make_id: of calls.
    """

    def __init__(self, form: BlockFormat, tools: Tools | None = None, make_id: Callable[[], str] = new_id) -> None:
        self._form, self._tools, self._make_id = form, tools, make_id
        self._text, self._space = "", ""
        self._n_calls = 0
        self._is_first = True  # no content but white space yet
        self._after_calls = False

    def push(self, piece: str) -> list[Delta]:
        self._text += piece
        return self._read(is_last=False)

    def finish(self) -> list[Delta]:
        deltas = self._read(is_last=True)
        if self._space and not self._after_calls:
            deltas.append(ContentDelta(self._space))
        self._space = ""
        return deltas

    def _read(self, is_last: bool) -> list[Delta]:
        deltas: list[Delta] = []
        while self._text:
            place = self._marker(is_last)
            if place:
                deltas += self._content(place)
                continue
            if place is None:
                return deltas
            block = self._form.read(self._text, self._tools, is_last)
            if block is None and not is_last:
                return deltas
            if block is None or not block.calls:
                deltas += self._content(1 if block is None else block.length)
                continue
            self._text = self._text[block.length :]
            self._space, self._after_calls = "", True
            for call in block.calls:
                deltas += call_deltas(call, self._n_calls, self._make_id())
                self._n_calls += 1
        return deltas

    def _marker(self, is_last: bool) -> int | None:
        """Characters before the first block that may begin in the text; None where that shows with the next piece."""
        text, markers = self._text, self._form.markers
        if self._form.only_first:
            if not self._is_first:
                return len(text)
            if text[0].isspace():
                return len(text) - len(text.lstrip())
            if text.startswith(markers):
                return 0
            return None if not is_last and _may_begin(text, markers) else len(text)
        place = first_marker(text, markers, is_last)
        return place or (0 if text.startswith(markers) else None)

    def _content(self, length: int) -> list[Delta]:
        """The first characters are content; white space at their end waits for what follows."""
        text, self._text = self._text[:length], self._text[length:]
        said = text.rstrip()
        if not said:
            self._space += text
            return []
        self._is_first = False
        if self._after_calls:
            self._space, said = "", said.lstrip()
        delta = ContentDelta(self._space + said)
        self._space, self._after_calls = text[len(text.rstrip()) :], False
        return [delta]


def first_marker(text: str, markers: tuple[str, ...], is_last: bool) -> int:
    """Characters before the first marker; where more follows, one that has only begun at the end of the text counts too."""
    found = [place for marker in markers if (place := text.find(marker)) >= 0]
    whole = min(found, default=len(text))
    if is_last:
        return whole
    longest = max(map(len, markers)) - 1
    begun = (place for place in range(max(len(text) - longest, 0), whole) if _may_begin(text[place:], markers))
    return next(begun, whole)


def _may_begin(text: str, markers: tuple[str, ...]) -> bool:
    return any(marker.startswith(text) for marker in markers)


def call_deltas(call: ToolCall, index: int, key: str) -> list[Delta]:
    """A call in pieces.

    Args:
        key: its id.
    """
    pieces = [call.arguments[begin : begin + PIECE] for begin in range(0, len(call.arguments), PIECE)]
    return [ToolCallDelta(index, key, call.name), *(ToolCallDelta(index, arguments=piece) for piece in pieces)]


def read_message(reader: ToolCallReader, text: str) -> Message:
    """A whole message."""
    return joined([*reader.push(text), *reader.finish()])
