"""The committed list of prompts, and how a listed text is found again."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from itertools import combinations

import pytest

from casspec.tuner.suites.reference import suite as reference_suite
from casspec.tuner.suites.reference import suite_list as suite_list_file
from casspec.tuner.suites.reference.suite_list import (
    SuiteEntry,
    SuiteList,
    entry_text,
    find_entry,
    text_sha256,
)


@pytest.mark.usefixtures("listed_python")
def test_every_committed_entry_is_found_in_this_library(committed: SuiteList):
    missing = [
        entry.id for entry in reference_suite._without_missing_tests(committed.entries) if entry_text(entry) is None
    ]
    assert missing == []


def test_committed_list_has_equal_halves_of_every_task(committed: SuiteList):
    sizes = Counter((entry.task, entry.half) for entry in committed.entries)
    for task in suite_list_file.TASKS:
        assert sizes[task, "tuning"] == sizes[task, "reporting"] >= 1
        assert committed.counts[task].chosen == 2 * sizes[task, "tuning"]
    assert 30 <= len(committed.entries) <= 100


def test_no_text_is_shared_between_the_halves(committed: SuiteList):
    assert len({entry.id for entry in committed.entries}) == len(committed.entries)
    for one, other in combinations(committed.entries, 2):
        apart = one.offset + one.length <= other.offset or other.offset + other.length <= one.offset
        assert one.half == other.half or one.module != other.module or apart


def test_only_held_out_modules_and_their_tests_are_cut(committed: SuiteList):
    heldout = set((files("casspec.reference") / "heldout_modules.txt").read_text().split())
    for entry in committed.entries:
        assert entry.module.startswith("test/test_") if entry.task == "tests" else entry.module in heldout


def test_nothing_in_the_list_loops(committed: SuiteList):
    assert committed.max_repetition == 0.2
    assert all(0 <= entry.repetition <= committed.max_repetition for entry in committed.entries)


def entry_of(source: str, text: str) -> SuiteEntry:
    return SuiteEntry(
        task="completion",
        module="wave.py",
        offset=source.index(text),
        length=len(text),
        sha256=text_sha256(text),
        half="tuning",
        repetition=0.0,
    )


def test_text_that_moved_is_found_and_text_that_changed_is_not():
    source = "a = 1\nb = 2\nc = 3\n"
    entry = entry_of(source, "b = 2")
    assert find_entry(entry, source) == 6
    assert find_entry(entry, "# added\n" + source) == 14
    assert find_entry(entry, source.replace("b = 2", "b = 4")) is None
