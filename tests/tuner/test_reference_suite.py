from __future__ import annotations

import platform
import shutil
import sys
from collections import Counter
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pytest
import torch

from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.reference import build as reference_list
from casspec.tuner.suites.reference import suite as reference_suite
from casspec.tuner.suites.reference import suite_list as suite_list_file
from casspec.tuner.suites.reference.suite_list import (
    SuiteEntry,
    SuiteList,
    committed_list,
    entry_text,
    find_entry,
    text_sha256,
)
from casspec.tuner.suites.repetition import repetition

ON_LISTED_PYTHON = pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the committed list is for Python 3.11")


@pytest.fixture(scope="module")
def committed() -> SuiteList:
    suite_list = committed_list()
    assert suite_list is not None
    return suite_list


@pytest.fixture(autouse=True)
def _fresh_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    suite_list_file.module_text.cache_clear()
    yield
    suite_list_file.module_text.cache_clear()


# ------------------------------------------------------------------------------------------------------ committed list


@ON_LISTED_PYTHON
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


@ON_LISTED_PYTHON
def test_prompts_and_continuations_fit_the_trained_context(committed: SuiteList):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(files("casspec.reference")))
    lengths = [len(tokenizer(prompt.text)["input_ids"]) for prompt in load_suite("reference").prompts]
    assert min(lengths) >= 200
    assert max(lengths) + 128 <= 1024


@ON_LISTED_PYTHON
def test_reference_suite_is_the_same_each_time(committed: SuiteList):
    suite = load_suite("reference")
    assert suite.name == "reference"
    assert [prompt.id for prompt in suite.prompts] == [
        entry.id for entry in reference_suite._without_missing_tests(committed.entries)
    ]
    assert suite.content_hash() == load_suite("reference").content_hash()
    assert {prompt.id for prompt in suite.half("tuning")}.isdisjoint(prompt.id for prompt in suite.half("reporting"))


# ------------------------------------------------------------------------------------------------- other interpreters


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


class FakeFilter:
    """Passes one candidate in three; a token is four characters."""

    judged = 0

    def __init__(self, continuation_tokens: int, max_repetition: float):
        pass

    def token_ids(self, text: str) -> list[int]:
        return list(text[::4].encode())

    def judge(self, prompts: list[list[int]]) -> list[float | None]:
        FakeFilter.judged += len(prompts)
        return [0.1 if sum(ids) % 3 == 0 else None for ids in prompts]


@pytest.fixture
def other_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter of another version: a few held-out modules, a line longer, without tests."""
    library = tmp_path / "library"
    library.mkdir()
    for module in ("statistics.py", "ipaddress.py", "trace.py", "nntplib.py"):
        text = suite_list_file.module_text(module)
        if text is not None:
            (library / module).write_text("# another version\n" + text, encoding="utf-8")
    suite_list_file.module_text.cache_clear()
    for module in (suite_list_file, reference_list):
        monkeypatch.setattr(module, "standard_library", lambda: library)
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.1")
    monkeypatch.setattr(reference_list, "GreedyFilter", FakeFilter)
    return library


def test_another_interpreter_makes_its_own_list_once(other_python: Path, tmp_path: Path, capsys):
    suite = load_suite("reference")
    judged = FakeFilter.judged
    assert judged > 0
    assert "Python 3.99.1" in capsys.readouterr().err
    assert (
        {"completion", "docstring", "rewrite"}
        <= set(suite.tasks)
        <= {"completion", "docstring", "rewrite", "constants"}
    )
    for task in suite.tasks:
        assert sum(p.task == task for p in suite.half("tuning")) == sum(p.task == task for p in suite.half("reporting"))

    own = SuiteList.model_validate_json((tmp_path / "cache" / "casspec" / "suite-3.99.1.json").read_text())
    assert own.python == "3.99.1"
    assert load_suite("reference") == suite
    assert FakeFilter.judged == judged


@ON_LISTED_PYTHON
def test_own_list_keeps_committed_prompts_whose_text_stands_there_too(other_python: Path, committed: SuiteList):
    texts = {prompt.text for prompt in load_suite("reference").prompts}
    present = [entry for entry in committed.entries if (other_python / entry.module).exists()]
    kept = [entry for entry in present if entry_text(entry) in texts]
    assert len(kept) >= len(present) / 2 > 0


def test_a_library_without_tests_is_noted_and_does_not_call_for_another_list(
    committed: SuiteList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    library = tmp_path / "library"
    for entry in committed.entries:
        source = suite_list_file.standard_library() / entry.module
        if entry.task != "tests" and source.exists():
            (library / entry.module).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, library / entry.module)
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the committed list is for Python 3.11")
    suite_list_file.module_text.cache_clear()
    monkeypatch.setattr(suite_list_file, "standard_library", lambda: library)
    suite = load_suite("reference")
    n_tests = sum(entry.task == "tests" for entry in committed.entries)
    assert len(suite.prompts) == len(committed.entries) - n_tests
    assert len(suite.notes) == 1
    assert suite.notes[0].startswith(f"{n_tests} tests prompts left out")


def test_greedy_filter_agrees_with_the_librarys_own_generate():
    from casspec.tuner.suites.reference.loop_filter import GreedyFilter

    torch.set_num_threads(1)
    judge = GreedyFilter(continuation_tokens=32, max_repetition=0.5)
    prompts = [
        judge.token_ids(text)
        for text in ("def add(a, b):\n    return", "import os\nimport sys\n\n\nclass", "x = [1, 2")
    ]
    expected = []
    for ids in prompts:
        output = judge.model.generate(torch.tensor([ids]), max_new_tokens=32, do_sample=False)[0, len(ids) :].tolist()
        share = repetition(output)
        expected.append(None if share > 0.5 or 0 in output else share)
    assert judge.judge(prompts) == expected
    assert [judge.judge([ids])[0] for ids in prompts] == expected


@ON_LISTED_PYTHON
def test_extending_a_list_keeps_its_prompts_and_counts_both_runs(committed: SuiteList, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reference_list, "GreedyFilter", FakeFilter)
    budget = reference_list.ListBudget(prompts_per_task=20, candidates_per_task=64, seed=2)
    extended = reference_list.make_list(budget, committed)
    assert {entry.id for entry in extended.entries} > {entry.id for entry in committed.entries}
    for task, count in committed.counts.items():
        assert extended.counts[task].candidates > count.candidates
        assert extended.counts[task].known == count.chosen
