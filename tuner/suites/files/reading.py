"""Goes through a file or a folder of prompts, and counts what cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.files.content import (
    MEBIBYTE,
    ROW_BYTES,
    ROWS,
    ROWS_LIMIT,
    Broken,
    format_suffix,
    is_compressed,
    opened,
    whole,
)
from casspec.tuner.suites.files.json_values import Numbered, layout, values
from casspec.tuner.suites.files.rows import Found, LeftOut, Request, UnusableRow, text_of
from casspec.tuner.suites.files.shapes import recognised
from casspec.tuner.suites.files.tables import table

TEXT_SUFFIXES = (".txt",)
TABLE_SUFFIXES = {".csv": "CSV", ".tsv": "TSV", ".parquet": "Parquet"}
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")

NAMED_ROWS = 3
"""Rows left out of which more than their number is kept, the first ones."""
PROMPTS = 10_000
"""Most of a suite; the first ones are taken."""
SUITE_CHARACTERS = 64 * MEBIBYTE
"""Most of all prompts of a suite together."""


@dataclass
class Reading:
    """What was read so far of a suite, and what was not."""

    path: Path
    strict: bool = False
    found: list[tuple[Path, Found]] = field(default_factory=list)
    left_out: list[tuple[Path, LeftOut]] = field(default_factory=list)
    """The first few of those that cannot be used."""
    n_left_out: int = 0
    files: dict[Path, None] = field(default_factory=dict)
    """Those with a prompt that is used, in order."""
    kinds: dict[str, None] = field(default_factory=dict)
    """What was read, for instance "OpenAI messages (JSONL)"; in order."""
    is_full: bool = False
    """Whether there was more than a suite may have."""
    _characters: int = 0
    _first_row_of: dict[str, int] = field(default_factory=dict)

    def read(self, path: Path, column: str | None = None) -> None:
        """Adds a file's prompts.

        Raises SuiteError where the file cannot be opened or has no such column; with `strict` for the first row that cannot be used.
        """
        self._first_row_of.clear()
        row = 0
        try:
            for row, kind, each in rows(path, column):
                if row > ROWS:
                    self._leave_out(path, LeftOut(row, ROWS_LIMIT))
                    return
                if self.is_full:
                    return
                self._add(path, row, kind, each)
        except Broken as error:
            self._leave_out(path, LeftOut(row + 1, str(error)))

    def _add(self, path: Path, row: int, kind: str, each: Found | LeftOut) -> None:
        if isinstance(each, LeftOut):
            self._leave_out(path, each)
            return
        request = each.request
        if request.must_be_only and request.id is not None:
            first = self._first_row_of.setdefault(request.id, row)
            if first != row:
                why = f"question_id {request.id} was already used in row {first}; expected every question_id once"
                self._leave_out(path, LeftOut(row, why))
                return
        length = sum(map(len, (request.system, *request.turns, *request.answers)))
        if len(self.found) == PROMPTS or self._characters + length > SUITE_CHARACTERS:
            self.is_full = True
            return
        self._characters += length
        self.found.append((path, each))
        self.files[path] = None
        self.kinds[kind] = None

    def _leave_out(self, path: Path, row: LeftOut) -> None:
        if self.strict:
            raise SuiteError(f"{path}, row {row.row}: {row.why}")
        self.n_left_out += 1
        if len(self.left_out) < NAMED_ROWS:
            self.left_out.append((path, row))


def is_prompt_file(path: Path) -> bool:
    """Whether a file of this name holds prompts rather than source."""
    return format_suffix(path) in (*TEXT_SUFFIXES, *TABLE_SUFFIXES, *JSON_SUFFIXES)


def rows(path: Path, column: str | None = None) -> Iterator[tuple[int, str, Found | LeftOut]]:
    """Every row of a file, what is told of such rows, and the request in it.

    Raises SuiteError where the file cannot be opened or has no such column, Broken where it cannot be read on.
    """
    suffix = format_suffix(path)
    if suffix in TEXT_SUFFIXES:
        if column is not None:
            raise SuiteError(f"{path} is a text, which has no column '{column}': leave the column out")
        yield 1, _kind("text, one prompt a file", path), _text(path)
    elif suffix in TABLE_SUFFIXES:
        with table(path, column) as read:
            for each in read.rows:
                yield _row_of(path, each, TABLE_SUFFIXES[suffix], read.column)
    else:
        form = layout(path)
        for each in values(path):
            if column is not None and isinstance(each, Numbered):
                each = Numbered(each.row, _named_field(each.value, column))
            yield _row_of(path, each, form, column)


def _row_of(path: Path, each: Numbered | LeftOut, form: str, column: str | None) -> tuple[int, str, Found | LeftOut]:
    """The row under what is told of it."""
    if isinstance(each, LeftOut):
        return each.row, "", each
    try:
        found = recognised(*each)
    except UnusableRow as error:
        return each.row, "", LeftOut(each.row, str(error))
    told = found.shape if column is None else f"column '{column}'"
    return each.row, _kind(f"{told} ({form})", path), found


def _named_field(value: Any, column: str) -> Any:
    """The row with what stands under `column` as its prompt."""
    if not isinstance(value, dict):
        return value
    about = {name: entry for name, entry in value.items() if name in ("id", "category")}
    return about | {"prompt": value.get(column)}


def _text(path: Path) -> Found | LeftOut:
    try:
        with opened(path) as stream:
            content = whole(stream, ROW_BYTES).decode("utf-8-sig")
        text = text_of(content.replace("\r\n", "\n").rstrip("\n"), "text")
    except UnicodeDecodeError as error:
        return LeftOut(1, f"not UTF-8 ({error.reason})")
    except (Broken, UnusableRow) as error:
        return LeftOut(1, str(error))
    return Found(1, "text", Request(turns=(text,)))


def _kind(told: str, path: Path) -> str:
    return f"{told}, compressed" if is_compressed(path) else told
