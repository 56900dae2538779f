"""Suites of source code: stretches of files to go on from."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.prompts import Prompt, Suite, assign_halves

SOURCE_SUFFIXES = (".py", ".pyi", ".c", ".h", ".cc", ".cpp", ".go", ".java", ".js", ".ts", ".rb", ".rs", ".md", ".rst")
SOURCE_PROMPTS = 80
SOURCE_PROMPT_CHARACTERS = (800, 2400)
SOURCE_FILE_CHARACTERS = 16_000_000
"""What stands behind it in a file is not read."""
SOURCE_SEED = 0


def source_suite(root: Path, files: Sequence[Path], name: str | None = None) -> Suite:
    """Completion prompts: stretches of whole lines, at most one a file until every file has had its turn.

    Raises SuiteError where the files are too short for one.
    """
    shortest, longest = SOURCE_PROMPT_CHARACTERS
    windows: list[tuple[int, str, str]] = []
    for file in files:
        relative = file.relative_to(root).as_posix()
        generator = random.Random(f"{SOURCE_SEED}:{relative}")
        window, limit, round_number = "", generator.randint(shortest, longest), 0
        for number, line in enumerate(_text(file).splitlines(keepends=True), start=1):
            window += line
            if len(window) >= limit:
                windows.append((round_number, f"{relative}:{number}", window[-longest:]))
                window, limit, round_number = "", generator.randint(shortest, longest), round_number + 1
    if not windows:
        raise SuiteError(f"no prompts in {root}: expected source files of at least {shortest} characters")
    windows.sort(key=lambda window: (window[0], hashlib.sha256(f"{SOURCE_SEED}:{window[1]}".encode()).digest()))
    chosen = windows[:SOURCE_PROMPTS]
    halves = assign_halves((prompt_id, "completion") for _, prompt_id, _ in chosen)
    prompts = tuple(
        Prompt(id=prompt_id, task="completion", turns=(text,), half=halves[prompt_id]) for _, prompt_id, text in chosen
    )
    return Suite(name=name or root.resolve().name, prompts=prompts)


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(SOURCE_FILE_CHARACTERS)
    except OSError as error:
        raise SuiteError(f"cannot read source {file}: {error.strerror or error}") from error
