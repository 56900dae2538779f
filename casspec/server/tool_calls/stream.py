"""Text in pieces becomes content and calls.

Calls stand in blocks. A block begins with a marker of its format and is held back until it is decided: either it holds calls, or its first
characters are content after all. It holds a call from where the arguments of a tool begin; they are told as they come, as the model writes
them. That is decided by the characters before, never by where pieces were cut, so any cutting comes to the same. White space before and
after a block of calls belongs to nobody.
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


class Arguments(Protocol):
    """Reads the arguments of a call as they come."""

    def read(self, text: str, is_last: bool) -> tuple[int, str, bool]:
        """(characters that are read, JSON of them, whether the arguments are over) of a text that goes on where the one before was read to.

        Args:
            is_last: nothing follows.
        """


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that begins.

    Attributes:
        length: of the text before its arguments. is_listed: whether it stands in an array.
    """

    length: int
    name: str
    arguments: Arguments
    is_listed: bool = False


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

    def read(self, text: str, tools: Tools | None, is_last: bool) -> Block | Begun | None:
        """The block that `text` begins with, at a marker, or its first call; None while more has to be seen.

        Args:
            tools: whose calls count; None for any. is_last: nothing follows.
        """

    def go_on(self, text: str, begun: Begun, tools: Tools | None, is_last: bool) -> Block | Begun | None:
        """What follows the arguments of a call: the next one, or the end of the block, without calls; None while more has to be seen."""


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
        self._begun: Begun | None = None
        self._is_over = True  # arguments of the call that has begun
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
        while self._text or (is_last and self._begun is not None):
            went = self._call(deltas, is_last) if self._begun is not None else self._outside(deltas, is_last)
            if not went:
                break
        return deltas

    def _outside(self, deltas: list[Delta], is_last: bool) -> bool:
        """Reads content, or the beginning of a block; whether it went on."""
        place = self._marker(is_last)
        if place:
            deltas += self._content(place)
            return True
        if place is None:
            return False
        found = self._form.read(self._text, self._tools, is_last)
        if found is None and not is_last:
            return False
        if isinstance(found, Begun):
            self._begin(found, deltas)
        elif found is None or not found.calls:
            deltas += self._content(1 if found is None else found.length)
        else:
            self._leave(found.length)
            for call in found.calls:
                deltas += call_deltas(call, self._n_calls, self._make_id())
                self._n_calls += 1
        return True

    def _call(self, deltas: list[Delta], is_last: bool) -> bool:
        """Reads arguments, or what stands behind them; whether it went on."""
        assert self._begun is not None
        if not self._is_over:
            length, told, self._is_over = self._begun.arguments.read(self._text, is_last)
            self._text = self._text[length:]
            if told:
                deltas.append(ToolCallDelta(self._n_calls - 1, arguments=told))
            if not self._is_over and is_last:
                self._begun = None
            return self._is_over
        found = self._form.go_on(self._text, self._begun, self._tools, is_last)
        if isinstance(found, Begun):
            self._begin(found, deltas)
        elif found is not None or is_last:
            self._leave(0 if found is None else found.length)
        return found is not None

    def _begin(self, begun: Begun, deltas: list[Delta]) -> None:
        self._text, self._begun, self._is_over = self._text[begun.length :], begun, False
        deltas.append(ToolCallDelta(self._n_calls, self._make_id(), begun.name))
        self._n_calls += 1

    def _leave(self, length: int) -> None:
        """A block of calls ends."""
        self._text, self._begun = self._text[length:], None
        self._space, self._after_calls = "", True

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
