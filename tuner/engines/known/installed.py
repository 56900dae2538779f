"""What is installed of an engine: the interpreter of its environment, and what that one says of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from casspec.storage.errors import EngineError

LOOK_SECONDS = 60


def program(named: Path | None, command: str) -> Path:
    """The named file, else the command on PATH. Raises EngineError where there is none."""
    if named is not None:
        if not named.is_file():
            raise EngineError(f"--engine-python {named} is no file: name what starts {command}")
        return named
    found = shutil.which(command)
    if found is None:
        raise EngineError(f"no {command} on PATH: install it, or name what starts it with --engine-python")
    return Path(found)


def interpreter(named: Path | None, command: str) -> Path:
    """The named file, else the interpreter beside the command on PATH. Raises EngineError where there is none."""
    found = program(named, command)
    if named is not None:
        return found
    for beside in ("python", "python3"):
        python = found.resolve().with_name(beside)
        if python.is_file():
            return python
    raise EngineError(f"{found} has no Python beside it: name its environment's interpreter with --engine-python")


def said_by(words: Sequence[str | Path]) -> tuple[str, str] | None:
    """What a command prints on stdout and on stderr; None where it fails.

    It runs at the root of the file system: an interpreter would import what lies about here.
    """
    absolute = [str(Path(words[0]).absolute()), *map(str, words[1:])]
    root = Path(absolute[0]).anchor
    try:
        done = subprocess.run(absolute, capture_output=True, text=True, timeout=LOOK_SECONDS, cwd=root)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return (done.stdout, done.stderr) if done.returncode == 0 else None


def told_by(python: Path, script: str) -> dict[str, Any] | None:
    """A JSON object that an interpreter prints for a script; None where it prints none."""
    said = said_by([python, "-c", script])
    try:
        found = json.loads(said[0]) if said else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
