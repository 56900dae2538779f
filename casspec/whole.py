"""What is made once and kept on disk: it appears at once and complete, or not at all, and a refusal of the disk is one line."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from casspec.storage.errors import StorageError

LEFTOVER_SECONDS = 24 * 3600
"""Age at which the directory of a process that was killed while writing is removed."""


@contextmanager
def whole(path: Path, what: str, n_bytes: int, made: str = "", replace: bool = False) -> Iterator[Path]:
    """An empty directory beside `path` to write in. At the end it becomes `path`; after an error nothing of it stays.

    Of two processes that make the same at once, the first to finish stays and the other's is dropped.

    Args:
        path: where it appears; must not exist or be an empty directory, unless `replace` is given.
        what: named in errors, for instance "the testbed".
        n_bytes: room it takes on the disk at most.
        made: a file in the directory that is `path` in the end; by default the directory itself.
        replace: whether a directory at `path` gives way.

    Raises:
        StorageError: no room or no permission.
    """
    with _told_as_storage_error(path, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        _check_room(path.parent, what, n_bytes)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
        try:
            partial.mkdir()
            yield partial
            if path.is_dir() and (replace or not any(path.iterdir())):
                shutil.rmtree(path)
            _put(partial / made if made else partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _put(made: Path, path: Path) -> None:
    try:
        made.replace(path)
    except OSError:
        if not (path.is_dir() and any(path.iterdir())):  # else another process has just finished the same
            raise


def _check_room(folder: Path, what: str, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise StorageError(
            f"{what} takes {n_bytes / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB left; free some space, or "
            "set XDG_CACHE_HOME to a larger disk"
        )


def _remove_leftovers(path: Path) -> None:
    """Removes what a process that was killed while it made this has left."""
    for partial in path.parent.glob(f".{path.name}.*.partial"):
        if time.time() - partial.stat().st_mtime > LEFTOVER_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _told_as_storage_error(path: Path, what: str) -> Iterator[None]:
    """Whatever the disk refuses, in one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageError(
            f"{what} cannot be written to {path}: {reason}; free some space, mend the permissions or set "
            "XDG_CACHE_HOME to another disk"
        ) from error
