"""Opens a file of prompts, compressed or not, and reads it in pieces of bounded size.

Nothing is ever held but the row at hand: a file of any size, a line without an end and an archive that unpacks to nothing but zeros
cost no memory.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from casspec.storage.errors import SuiteError

MEBIBYTE = 1 << 20
ROW_BYTES = 4 * MEBIBYTE
"""A longer row is left out."""
FILE_BYTES = 1024 * MEBIBYTE
"""What stands behind it in a file, as unpacked, is not read."""
HELD_BYTES = 256 * MEBIBYTE
"""Most of a file that can only be read whole."""
PIECE_BYTES = 1 << 16
ROWS = 2_000_000
"""What stands behind them in a file is not read, for time's sake."""

ROW_LIMIT = f"longer than {ROW_BYTES // MEBIBYTE} MiB"
ROWS_LIMIT = f"what follows the first {ROWS:,} rows is not read"
FILE_LIMIT = f"what follows the first {FILE_BYTES // MEBIBYTE} MiB is not read"


class Broken(Exception):
    """The file cannot be read on; the message says why, in a few words."""


def is_compressed(path: Path) -> bool:
    return path.suffix == ".gz"


def format_suffix(path: Path) -> str:
    """The suffix that tells the format: `.csv` of `a.csv.gz` too, in lower case."""
    return (path.with_suffix("") if is_compressed(path) else path).suffix.lower()


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked. Raises SuiteError where it cannot be opened, Broken where reading on fails."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise SuiteError(f"cannot read suite {path}: {error.strerror or error}") from error
    with file:
        stream = gzip.GzipFile(fileobj=file) if is_compressed(path) else file
        try:
            yield stream  # type: ignore[misc]
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise Broken(f"not a whole gzip file ({error})") from error
        except OSError as error:
            raise Broken(f"cannot be read on ({error.strerror or error})") from error


def lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Lines with their ends, without a byte-order mark; None stands for one that is too long. Raises Broken past the file's limits."""
    n_lines = total = 0
    while piece := stream.readline(ROW_BYTES + 1):
        if n_lines == ROWS:
            raise Broken(ROWS_LIMIT)
        is_long = len(piece) > ROW_BYTES
        total += len(piece)
        while is_long and not piece.endswith(b"\n") and total <= FILE_BYTES and piece:
            piece = stream.readline(PIECE_BYTES)
            total += len(piece)
        if total > FILE_BYTES:
            raise Broken(FILE_LIMIT)
        yield None if is_long else piece if n_lines else piece.removeprefix(codecs.BOM_UTF8)
        n_lines += 1


def characters(stream: BinaryIO) -> Iterator[str]:
    """The text in pieces, without a byte-order mark. Raises Broken past the file's limit and where it is no UTF-8."""
    decoder, total = codecs.getincrementaldecoder("utf-8-sig")(), 0
    while True:
        piece = stream.read(PIECE_BYTES)
        total += len(piece)
        if total > FILE_BYTES:
            raise Broken(FILE_LIMIT)
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise Broken(f"not UTF-8 ({error.reason})") from error
        if text:
            yield text
        if not piece:
            return


def whole(stream: BinaryIO, limit: int) -> bytes:
    """All of it. Raises Broken where that is more than `limit` bytes."""
    content = io.BytesIO()
    while piece := stream.read(PIECE_BYTES):
        content.write(piece)
        if content.tell() > limit:
            raise Broken(f"longer than {limit // MEBIBYTE} MiB")
    return content.getvalue()
