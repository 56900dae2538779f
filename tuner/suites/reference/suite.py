"""The suite `reference`: prompts cut from the running interpreter's own standard library.

No library text is shipped. What is shipped, for one Python version, is a list of where to cut (`suite-3.11.json` in
`casspec.reference`): module, offset, length and the hash the cut must have. An interpreter whose text differs loses the
entries that no longer match; one of another version makes its own list on first use (`tuner/suites/reference/build.py`) and
keeps it in the user's cache directory.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from casspec.storage.schema import Document
from casspec.tuner.suites.prompts import Half, Prompt, Suite

TASKS = ("completion", "rewrite", "constants", "tests", "docstring")
DATA_PACKAGE = "casspec.reference"
SMALLEST_USABLE_SHARE = 0.5
"""A list of which fewer entries match the interpreter's text is set aside for one of its own."""


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


# -------------------------------------------------------------------------------------------------------------- loading


def load_reference_suite() -> Suite:
    """The reference suite for the running interpreter; makes and caches its list when none fits (shows progress)."""
    version = platform.python_version()
    committed = committed_list()
    if committed and _minor(committed.python) == _minor(version) and _usable(committed):
        return _suite(committed)
    cached = _read_list(own_list_path())
    if cached and _usable(cached):
        return _suite(cached)

    from casspec.tuner.suites.reference.build import OWN_LIST, make_list, write_list

    print(f"making the list of reference prompts for Python {version}, once", file=sys.stderr)
    made = make_list(OWN_LIST, committed, on_progress=lambda line: print(f"  {line}", file=sys.stderr))
    write_list(made, own_list_path())
    return _suite(made)


def own_list_path() -> Path:
    """Where the running interpreter keeps a list of its own."""
    return user_cache_directory() / f"suite-{platform.python_version()}.json"


def committed_list() -> SuiteList | None:
    """The list that ships with casspec, made on Python 3.11."""
    return _read_list(files(DATA_PACKAGE) / "suite-3.11.json")


def _minor(version: str) -> str:
    return version.rpartition(".")[0]


def user_cache_directory() -> Path:
    """Where casspec keeps what it can make again: XDG_CACHE_HOME, else the platform's custom, in its own folder."""
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "casspec"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "casspec"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "casspec" / "Cache"
    return Path.home() / ".cache" / "casspec"


def _read_list(path: Traversable) -> SuiteList | None:
    try:
        return SuiteList.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def _usable(suite_list: SuiteList) -> bool:
    entries = _without_missing_tests(suite_list.entries)
    matching = sum(entry_text(entry) is not None for entry in entries)
    return matching > SMALLEST_USABLE_SHARE * len(entries)


def _without_missing_tests(entries: Iterable[SuiteEntry]) -> list[SuiteEntry]:
    """Many distributions leave the library's tests out; that alone is no reason for another list."""
    return [entry for entry in entries if entry.task != "tests" or module_text(entry.module) is not None]


def _suite(suite_list: SuiteList) -> Suite:
    prompts: list[Prompt] = []
    left_out: list[SuiteEntry] = []
    for entry in suite_list.entries:
        text = entry_text(entry)
        if text is None:
            left_out.append(entry)
        else:
            prompts.append(Prompt(id=entry.id, task=entry.task, turns=(text,), half=entry.half))
    notes = tuple(
        f"{sum(entry.task == task for entry in left_out)} {task} prompts left out: "
        f"this interpreter's library differs from Python {suite_list.python}'s or lacks the file"
        for task in dict.fromkeys(entry.task for entry in left_out)
    )
    return Suite(name="reference", prompts=tuple(prompts), notes=notes)
