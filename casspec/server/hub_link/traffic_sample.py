"""The newest recorded requests, as many as a report takes."""

from __future__ import annotations

from pathlib import Path

from casspec.storage.errors import StorageError

MOST_BYTES = 1 << 20
LEAST_REQUESTS = 16
"""Fewer say too little of what is asked."""


def traffic_sample(file: Path, most_bytes: int = MOST_BYTES, least: int = LEAST_REQUESTS) -> str | None:
    """Whole lines, the last of the file; None where there are too few yet.

    Raises StorageError for a file that cannot be read.
    """
    try:
        with file.expanduser().open("rb") as opened:
            size = opened.seek(0, 2)
            begin = max(size - most_bytes, 0)
            opened.seek(max(begin - 1, 0))
            content = opened.read(size - max(begin - 1, 0))
    except OSError as error:
        raise StorageError(f"recorded requests cannot be read from {file}: {error.strerror or error}") from error
    if begin:
        content = content.partition(b"\n")[2]  # of the line that the sample begins in
    whole, end, _ = content.rpartition(b"\n")  # the last one may be under way
    lines = whole + end
    return lines.decode("utf-8", "replace") if lines.count(b"\n") >= least else None
