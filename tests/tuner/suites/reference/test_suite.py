"""The built-in suite, on the Python its list is for and on others."""

from __future__ import annotations

import platform
import shutil
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.reference import build
from casspec.tuner.suites.reference import suite as reference_suite
from casspec.tuner.suites.reference import suite_list as suite_list_file
from casspec.tuner.suites.reference.suite_list import (
    SuiteList,
    entry_text,
)


@pytest.mark.usefixtures("listed_python")
def test_prompts_and_continuations_fit_the_trained_context(committed: SuiteList):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(files("casspec.reference")))
    lengths = [len(tokenizer(prompt.text)["input_ids"]) for prompt in load_suite("reference").prompts]
    assert min(lengths) >= 200
    assert max(lengths) + 128 <= 1024


@pytest.mark.usefixtures("listed_python")
def test_reference_suite_is_the_same_each_time(committed: SuiteList):
    suite = load_suite("reference")
    assert suite.name == "reference"
    assert [prompt.id for prompt in suite.prompts] == [
        entry.id for entry in reference_suite._without_missing_tests(committed.entries)
    ]
    assert suite.content_hash() == load_suite("reference").content_hash()
    assert {prompt.id for prompt in suite.half("tuning")}.isdisjoint(prompt.id for prompt in suite.half("reporting"))


@pytest.fixture
def other_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_filter: Any) -> Path:
    """An interpreter of another version: a few held-out modules, a line longer, without tests."""
    library = tmp_path / "library"
    library.mkdir()
    for module in ("statistics.py", "ipaddress.py", "trace.py", "nntplib.py"):
        text = suite_list_file.module_text(module)
        if text is not None:
            (library / module).write_text("# another version\n" + text, encoding="utf-8")
    suite_list_file.module_text.cache_clear()
    for module in (suite_list_file, build):
        monkeypatch.setattr(module, "standard_library", lambda: library)
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.1")
    return library


def test_another_interpreter_makes_its_own_list_once(other_python: Path, fake_filter: Any, tmp_path: Path, capsys):
    suite = load_suite("reference")
    judged = fake_filter.judged
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
    assert fake_filter.judged == judged


@pytest.mark.usefixtures("listed_python")
def test_own_list_keeps_committed_prompts_whose_text_stands_there_too(other_python: Path, committed: SuiteList):
    texts = {prompt.text for prompt in load_suite("reference").prompts}
    present = [entry for entry in committed.entries if (other_python / entry.module).exists()]
    kept = [entry for entry in present if entry_text(entry) in texts]
    assert len(kept) >= len(present) / 2 > 0


@pytest.mark.usefixtures("listed_python")
def test_a_library_without_tests_is_noted_and_does_not_call_for_another_list(
    committed: SuiteList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    library = tmp_path / "library"
    for entry in committed.entries:
        source = suite_list_file.standard_library() / entry.module
        if entry.task != "tests" and source.exists():
            (library / entry.module).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, library / entry.module)
    suite_list_file.module_text.cache_clear()
    monkeypatch.setattr(suite_list_file, "standard_library", lambda: library)
    suite = load_suite("reference")
    n_tests = sum(entry.task == "tests" for entry in committed.entries)
    assert len(suite.prompts) == len(committed.entries) - n_tests
    assert len(suite.notes) == 1
    assert suite.notes[0].startswith(f"{n_tests} tests prompts left out")
