"""Rows of a table, CSV or Parquet, and the column that holds the prompts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.files.content import (
    HELD_BYTES,
    MEBIBYTE,
    ROW_BYTES,
    ROW_LIMIT,
    Broken,
    format_suffix,
    is_compressed,
    lines,
    opened,
    whole,
)
from casspec.tuner.suites.files.json_values import Numbered
from casspec.tuner.suites.files.rows import LeftOut, shortened
from casspec.tuner.suites.files.shapes import ID_FIELDS

PROMPT_COLUMNS = ("prompt", "text", "question", "instruction")
"""The first of these that a table has is taken where none is named."""
STRUCTURED_COLUMNS = ("turns", "messages", "conversations", "conversation")
"""Of Parquet: columns that hold whole conversations."""
SIDE_COLUMNS = (*ID_FIELDS, "category")
PARQUET_ROWS = 16
"""Rows of a Parquet file that are held at a time."""


@dataclass(frozen=True)
class Table:
    """A table under way."""

    column: str | None
    """Where prompts are read from; None where rows hold conversations."""
    rows: Iterator[Numbered | LeftOut]


@contextmanager
def table(path: Path, column: str | None) -> Iterator[Table]:
    """The rows as objects, with `prompt` for what is in `column`.

    Raises SuiteError where there is no such column, or none that can be found without being named; Broken where the file cannot be
    read on.
    """
    with opened(path) as stream:
        if format_suffix(path) == ".parquet":
            yield _parquet(path, stream, column)
        else:
            yield _csv(path, stream, column)


def _chosen(path: Path, named: str | None, columns: Sequence[str]) -> str:
    """The column of the prompts. Raises SuiteError."""
    told = ", ".join(shortened(name) for name in columns[:20])
    if named is not None:
        if named not in columns:
            raise SuiteError(f"{path} has no column '{named}'; its columns are {told}")
        return named
    by_name = {name.strip().lower(): name for name in reversed(columns)}
    found = next((by_name[name] for name in PROMPT_COLUMNS if name in by_name), None)
    if found is None:
        raise SuiteError(
            f"{path} has no column {', '.join(PROMPT_COLUMNS[:-1])} or {PROMPT_COLUMNS[-1]}: name one as {path}:COLUMN; "
            f"its columns are {told or 'none'}"
        )
    return found


def _as_row(cells: dict[str, Any], column: str) -> dict[str, Any]:
    """The cells that count, by the names that shapes know."""
    by_name = {name.strip().lower(): cell for name, cell in cells.items()}
    return {name: by_name[name] for name in SIDE_COLUMNS if name in by_name} | {"prompt": cells.get(column)}


# ------------------------------------------------------------------------------------------------------------------ CSV


def _csv(path: Path, stream: BinaryIO, column: str | None) -> Table:
    text = _decoded(lines(stream))
    try:
        first = next(text, "")
    except UnicodeDecodeError as error:
        raise Broken(f"not UTF-8 ({error.reason})") from error
    delimiter = "\t" if format_suffix(path) == ".tsv" else max(",;\t", key=first.count)
    before = csv.field_size_limit(ROW_BYTES)
    try:
        header = next(csv.reader([first], delimiter=delimiter), [])
    except csv.Error as error:
        raise Broken(f"no table ({error})") from error
    finally:
        csv.field_size_limit(before)
    return Table(chosen := _chosen(path, column, header), _csv_rows(text, header, delimiter, chosen))


def _csv_rows(text: Iterator[str], header: list[str], delimiter: str, column: str) -> Iterator[Numbered | LeftOut]:
    """From row 2 on, as a spreadsheet counts; a fault ends them, for nobody knows where the next row begins."""
    reader, row = csv.reader(text, delimiter=delimiter), 1
    while True:
        row += 1
        before = csv.field_size_limit(ROW_BYTES)
        try:
            cells = next(reader, None)
        except (csv.Error, UnicodeDecodeError) as error:
            why = f"not UTF-8 ({error.reason})" if isinstance(error, UnicodeDecodeError) else str(error)
            yield LeftOut(row, f"{why}; what follows is not read")
            return
        finally:
            csv.field_size_limit(before)
        if cells is None:
            return
        if cells:
            yield Numbered(row, _as_row(dict(zip(header, cells, strict=False)), column))


def _decoded(pieces: Iterator[bytes | None]) -> Iterator[str]:
    for piece in pieces:
        if piece is None:
            raise Broken(f"a line {ROW_LIMIT}")
        yield piece.decode("utf-8")


# -------------------------------------------------------------------------------------------------------------- Parquet


def _parquet(path: Path, stream: BinaryIO, column: str | None) -> Table:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise SuiteError(
            f"reading '{path}' takes pyarrow, not installed here; run: pip install 'casspec[parquet]'"
        ) from error
    try:
        file = parquet.ParquetFile(io.BytesIO(whole(stream, HELD_BYTES)) if is_compressed(path) else stream)
    except (pyarrow.ArrowException, OSError) as error:
        raise Broken(f"no Parquet file ({_first_line(error)})") from error
    names = file.schema_arrow.names
    structured = [name for name in STRUCTURED_COLUMNS if name in names] if column is None else []
    chosen = None if structured else _chosen(path, column, names)
    wanted = structured or [chosen or ""]
    side = [name for name in names if name.strip().lower() in SIDE_COLUMNS and name not in wanted]
    _check_sizes(file, {*wanted, *side})
    return Table(chosen, _parquet_rows(file, [*wanted, *side], chosen))


def _check_sizes(file: Any, columns: set[str]) -> None:
    """Raises Broken where a part that is unpacked at once is too big."""
    for group in range(file.metadata.num_row_groups):
        part = file.metadata.row_group(group)
        for place in range(part.num_columns):
            held = part.column(place)
            if held.path_in_schema.partition(".")[0] in columns and held.total_uncompressed_size > HELD_BYTES:
                raise Broken(
                    f"column {held.path_in_schema} has a row group of {held.total_uncompressed_size // MEBIBYTE} MiB, more than "
                    f"{HELD_BYTES // MEBIBYTE}: write smaller ones"
                )


def _parquet_rows(file: Any, columns: list[str], column: str | None) -> Iterator[Numbered | LeftOut]:
    import pyarrow

    row = 0
    try:
        for batch in file.iter_batches(batch_size=PARQUET_ROWS, columns=columns, use_threads=False):
            if batch.nbytes > PARQUET_ROWS * ROW_BYTES:
                yield LeftOut(row + 1, f"{ROW_LIMIT}; what follows is not read")
                return
            for cells in batch.to_pylist():
                row += 1
                yield Numbered(row, cells if column is None else _as_row(cells, column))
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        yield LeftOut(row + 1, f"{_first_line(error)}; what follows is not read")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
