"""Values of a JSON file, one at a time: lines, a list, or an object over several lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from casspec.tuner.suites.files.content import (
    PIECE_BYTES,
    ROW_BYTES,
    ROW_LIMIT,
    Broken,
    characters,
    format_suffix,
    lines,
    opened,
)
from casspec.tuner.suites.files.rows import LeftOut

DECODER = json.JSONDecoder()
SPACE = " \t\r\n"
SPACES = re.compile(f"[{SPACE}]*")
LONGEST_LITERAL = len("-Infinity")
LONGEST_EXPONENT = len("e+1")


class Numbered(NamedTuple):
    """A value and its row, from 1 on."""

    row: int
    value: Any


def layout(path: Path) -> str:
    """ "JSON" for a list, and for an object over several lines in a file of that name; "JSONL" for anything else.

    Raises SuiteError where the file cannot be opened, Broken where it cannot be read.
    """
    with opened(path) as stream:
        start = stream.read(PIECE_BYTES).decode("utf-8-sig", errors="replace").lstrip(SPACE)
    if start.startswith("["):
        return "JSON"
    first, line_end, _ = start.partition("\n")
    if format_suffix(path) != ".json" or not line_end:
        return "JSONL"
    return "JSONL" if _is_value(first) else "JSON"


def values(path: Path) -> Iterator[Numbered | LeftOut]:
    """What stands in the file, as `layout` says it does; Broken where it cannot be read on."""
    return _of_list(path) if layout(path) == "JSON" else _of_lines(path)


def _of_lines(path: Path) -> Iterator[Numbered | LeftOut]:
    with opened(path) as stream:
        for row, line in enumerate(lines(stream), start=1):
            if line is None:
                yield LeftOut(row, ROW_LIMIT)
            elif line.strip():
                yield _parsed(row, line)


def _parsed(row: int, line: bytes) -> Numbered | LeftOut:
    try:
        return Numbered(row, json.loads(line.decode("utf-8").strip(SPACE)))
    except (ValueError, RecursionError) as error:
        return LeftOut(row, fault(error))


def _is_value(text: str) -> bool:
    try:
        DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return True


def fault(error: ValueError | RecursionError) -> str:
    """What is wrong with a text that should be JSON, in a few words."""
    if isinstance(error, json.JSONDecodeError):
        return f"not valid JSON ({error.msg}, column {error.colno})"
    if isinstance(error, _TooLong):
        return ROW_LIMIT
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 ({error.reason})"
    if isinstance(error, RecursionError):
        return "JSON nested too deeply"
    return "not valid JSON (a number of too many digits)"


def _of_list(path: Path) -> Iterator[Numbered | LeftOut]:
    """The values of a list, or those that follow each other; a fault ends it, for nobody knows where the next one begins."""
    with opened(path) as stream:
        text = _Window(characters(stream))
        is_list = text.take("[")
        row = 0
        while not text.ended():
            if is_list and text.take("]"):
                if not text.ended():
                    yield LeftOut(row + 1, "text after the end of the list")
                return
            row += 1
            try:
                value = text.value()
            except (ValueError, RecursionError) as error:
                yield LeftOut(row, f"{fault(error)}; what follows is not read")
                return
            yield Numbered(row, value)
            if is_list:
                text.take(",")
        if is_list:
            raise Broken("the list has no end")


class _TooLong(ValueError):
    """A value longer than any may be."""


class _Window:
    """The part of a long text that is being read."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces = pieces
        self._text = ""
        self._place = 0
        self._is_whole = False

    def take(self, mark: str) -> bool:
        """Whether `mark` comes next after white space; it is read past if so."""
        if self.ended() or self._text[self._place] != mark:
            return False
        self._place += 1
        return True

    def ended(self) -> bool:
        """Whether nothing but white space is left."""
        while True:
            found = SPACES.match(self._text, self._place)
            self._place = found.end() if found else self._place
            if self._place < len(self._text):
                return False
            if not self._read(1):
                return True

    def value(self) -> Any:
        """The next value. Raises ValueError or RecursionError where there is none."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if not self._may_go_on(error):
                    raise json.JSONDecodeError(error.msg, self._text[self._place :], error.pos - self._place) from None
                if len(self._text) - self._place > ROW_BYTES:
                    raise _TooLong from error
                if not self._read(len(self._text) - self._place):
                    raise
                continue
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if is_number and end > len(self._text) - LONGEST_EXPONENT and self._read(1):
                continue  # its digits may go on
            self._place = end
            return value

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        """Whether what was read of a value may be right as far as it goes."""
        return error.msg.startswith("Unterminated") or error.pos >= len(self._text) - LONGEST_LITERAL

    def _read(self, count: int) -> bool:
        """Reads `count` characters or some more; whether there were any."""
        pieces, n_read = [self._text[self._place :]], 0
        while n_read < count and not self._is_whole:
            piece = next(self._pieces, "")
            self._is_whole = not piece
            pieces.append(piece)
            n_read += len(piece)
        if n_read:
            self._text, self._place = "".join(pieces), 0
        return n_read > 0
