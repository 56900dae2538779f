"""A file of lines that grows for as long as a server runs: bounded, whole whatever ends the process, and readable by its owner alone."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

from casspec.storage.errors import StorageError

PIECE_BYTES = 1 << 16


class TrafficFile:
    """Appends lines. A full file keeps its newest half and goes on.

    Not for several threads at once. No other process can open the file as one meanwhile.

    Args:
        max_bytes: of the file. is_ours: whether a file may be gone on with that has this first line, with its end where it has one.

    Raises StorageError for what is no file that can be written, is written by another process, or holds something else.
    """

    def __init__(self, path: Path, max_bytes: int, is_ours: Callable[[bytes], bool]) -> None:
        self.path, self._max_bytes = path, max_bytes
        try:
            self._file = _opened(path, os.O_RDWR | os.O_CREAT)
            try:
                self._size = self._whole_size(is_ours)
            except BaseException:
                os.close(self._file)
                raise
        except OSError as error:
            raise StorageError(f"cannot record to {path}: {error.strerror or error}; name another file") from error

    def append(self, lines: Iterable[bytes]) -> int:
        """Adds lines, each with its end; they are on the disk when this returns. How many, for one longer than half a file is left out.

        Raises StorageError where the disk takes no more; then nothing of them was added.
        """
        kept = [line for line in lines if len(line) <= self._max_bytes // 2]
        content = b"".join(_newest(kept, self._max_bytes // 2))
        try:
            if self._size + len(content) > self._max_bytes:
                self._halve()
            _write(self._file, content)
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise StorageError(f"cannot record to {self.path}: {error.strerror or error}") from error
        self._size += len(content)
        return len(kept)

    def close(self) -> None:
        """Lets others have it."""
        os.close(self._file)

    def _whole_size(self, is_ours: Callable[[bytes], bool]) -> int:
        """Cuts off a line that was not written to its end. The size then."""
        size = os.fstat(self._file).st_size
        if size and not is_ours(self._first_line()):
            raise StorageError(f"{self.path} holds something else than recorded requests; name another file")
        end = size
        while end:
            begin = max(end - PIECE_BYTES, 0)
            found = os.pread(self._file, end - begin, begin).rfind(b"\n")
            if found >= 0:
                end = begin + found + 1
                break
            end = begin
        os.ftruncate(self._file, end)
        return end

    def _first_line(self) -> bytes:
        line, place = b"", 0
        while len(line) < self._max_bytes and b"\n" not in line:
            piece = os.pread(self._file, PIECE_BYTES, place)
            if not piece:
                break
            line, place = line + piece, place + len(piece)
        first, end, _ = line.partition(b"\n")
        return first + end

    def _halve(self) -> None:
        """Puts a file with its newest lines in its place."""
        begin = self._size - self._max_bytes // 2
        while begin > 0:
            piece = os.pread(self._file, PIECE_BYTES, begin - 1)
            found = piece.find(b"\n")
            begin += found if found >= 0 else len(piece)
            if found >= 0 or not piece:
                break
        beside = self.path.with_name(f"{self.path.name}.new")
        fresh = _opened(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            for place in range(max(begin, 0), self._size, PIECE_BYTES):
                _write(fresh, os.pread(self._file, min(PIECE_BYTES, self._size - place), place))
            os.fsync(fresh)
            os.replace(beside, self.path)
        except BaseException:
            os.close(fresh)
            raise
        os.close(self._file)
        self._file, self._size = fresh, os.fstat(fresh).st_size
        _sync_folder(self.path.parent)


def _opened(path: Path, flags: int) -> int:
    """A regular file that is its owner's alone, and nobody else's for as long as it is open. Raises OSError, StorageError."""
    file = os.open(path, flags | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise StorageError(f"{path} is no ordinary file; name another to record requests to")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageError(f"another process records to {path}; name another file") from None
        os.fchmod(file, 0o600)
    except BaseException:
        os.close(file)
        raise
    return file


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content) :]


def _newest(lines: list[bytes], most_bytes: int) -> list[bytes]:
    """The last of them, as many as fit."""
    total, first = 0, len(lines)
    while first and total + len(lines[first - 1]) <= most_bytes:
        first -= 1
        total += len(lines[first])
    return lines[first:]


def _sync_folder(folder: Path) -> None:
    """Makes sure that a new name in it outlives the machine."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
