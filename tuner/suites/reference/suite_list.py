"""The list behind the suite `reference`: where prompts are cut from the standard library, and the text of each cut.

No library text is shipped. What is shipped, for one Python version, is a list (`suite-3.11.json` in `casspec.reference`): module,
offset, length and the hash the cut must have.
"""

from __future__ import annotations

import hashlib
import os
import re
import sysconfig
import tokenize
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from casspec.storage.schema import Document
from casspec.tuner.suites.prompts import Half

TASKS = ("completion", "rewrite", "constants", "tests", "docstring")
DATA_PACKAGE = "casspec.reference"


class Rename(Document):
    """The change of a rewrite prompt: an identifier, and how much of the new version stands in the prompt."""

    old: str
    new: str
    shown_characters: int


class SuiteEntry(Document):
    """Where one prompt is cut: `length` characters from `offset` of a standard library module, as decoded text."""

    task: Literal["completion", "rewrite", "docstring", "constants", "tests"]
    module: str
    """Path below the standard library, with forward slashes."""
    offset: int
    length: int
    rename: Rename | None = None
    sha256: str
    """Of the cut text in UTF-8."""
    half: Half
    repetition: float
    """Share of 8-grams that repeat in the reference model's greedy continuation; what the list was filtered by."""

    @property
    def id(self) -> str:
        return f"{self.task}/{self.module}@{self.offset}"


class TaskCount(Document):
    """How many candidate cuts of a task were generated from, how many passed the filter, how many are in the list.

    The first two include the runs that a known list, which this one was made from, had taken.
    """

    candidates: int
    passed: int
    chosen: int
    known: int = 0
    """Prompts taken over from an earlier list because their text stands in this interpreter's library too."""


class SuiteList(Document):
    """A list of cuts and how it came about."""

    schema_version: Literal[1] = 1
    python: str
    """Full version of the interpreter the list was made on."""
    model: str
    """The model whose greedy continuations were judged."""
    seed: int
    continuation_tokens: int
    max_repetition: float
    counts: dict[str, TaskCount]
    entries: tuple[SuiteEntry, ...]


# ------------------------------------------------------------------------------------------------------ text of entries


def standard_library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


@cache
def module_text(module: str) -> str | None:
    """Decoded text of a standard library module, line ends as "\\n"; None where this interpreter has no such file."""
    try:
        with tokenize.open(standard_library() / module) as file:
            return file.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def text_sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def prompt_text(cut: str, rename: Rename | None) -> str:
    """The prompt made of a cut: the cut itself; for a rewrite the cut, a comment and the start of the new version."""
    if rename is None:
        return cut
    renamed = re.sub(rf"\b{re.escape(rename.old)}\b", rename.new, cut)
    return f"{cut}\n# The same with {rename.old} renamed to {rename.new}.\n{renamed[: rename.shown_characters]}"


def find_entry(entry: SuiteEntry, source: str) -> int | None:
    """Offset of an entry's text in `source`: the listed one, else the line where the same text begins now."""
    line_starts = (match.end() for match in re.finditer("\n", source))
    for offset in (entry.offset, 0, *line_starts):
        if text_sha256(source[offset : offset + entry.length]) == entry.sha256:
            return offset
    return None


def entry_text(entry: SuiteEntry) -> str | None:
    """The prompt of an entry, or None when its text does not stand in this interpreter's library."""
    source = module_text(entry.module)
    offset = None if source is None else find_entry(entry, source)
    if source is None or offset is None:
        return None
    return prompt_text(source[offset : offset + entry.length], entry.rename)


# ----------------------------------------------------------------------------------------------------------------- files


def committed_list() -> SuiteList | None:
    """The list that ships with casspec, made on Python 3.11."""
    return read_list(files(DATA_PACKAGE) / "suite-3.11.json")


def read_list(path: Traversable) -> SuiteList | None:
    """None where there is no such file, or no list in it."""
    try:
        return SuiteList.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def write_list(suite_list: SuiteList, path: Path) -> None:
    """Writes the list as JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    unfinished.write_text(suite_list.model_dump_json(indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)
