"""The suite `reference`: prompts cut from the running interpreter's own standard library.

Where to cut is a list (`suite_list.py`). An interpreter whose text differs from the list's loses the entries that no longer match;
one of another version makes its own list on first use (`build.py`) and keeps it in the user's cache directory.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from pathlib import Path

from casspec.storage.folders import user_cache_directory
from casspec.tuner.suites.prompts import Prompt, Suite
from casspec.tuner.suites.reference.suite_list import (
    SuiteEntry,
    SuiteList,
    committed_list,
    entry_text,
    module_text,
    read_list,
    write_list,
)

SMALLEST_USABLE_SHARE = 0.5
"""A list of which fewer entries match the interpreter's text is set aside for one of its own."""


def load_reference_suite() -> Suite:
    """The reference suite for the running interpreter; makes and caches its list when none fits (shows progress)."""
    version = platform.python_version()
    committed = committed_list()
    if committed and _minor(committed.python) == _minor(version) and _usable(committed):
        return _suite(committed)
    cached = read_list(own_list_path())
    if cached and _usable(cached):
        return _suite(cached)

    from casspec.tuner.suites.reference.build import OWN_LIST, make_list

    print(f"making the list of reference prompts for Python {version}, once", file=sys.stderr)
    made = make_list(OWN_LIST, committed, on_progress=lambda line: print(f"  {line}", file=sys.stderr))
    write_list(made, own_list_path())
    return _suite(made)


def own_list_path() -> Path:
    """Where the running interpreter keeps a list of its own."""
    return user_cache_directory() / f"suite-{platform.python_version()}.json"


def _minor(version: str) -> str:
    return version.rpartition(".")[0]


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
