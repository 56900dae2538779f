"""Suites of source: completion prompts from whole lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.storage.errors import SuiteError
from casspec.tuner.suites import source
from casspec.tuner.suites.load import load_suite
from casspec.tuner.suites.source import source_suite


def test_source_directory_becomes_completion_prompts(tmp_path: Path):
    for name in ("a.py", "deep/b.rs", ".git/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("".join(f"line {number} of {name}\n" for number in range(400)))
    suite = load_suite(tmp_path)
    assert suite.tasks == ("completion",)
    assert {prompt.kind for prompt in suite.prompts} == {"text"}
    assert {prompt.id.partition(":")[0] for prompt in suite.prompts} == {"a.py", "deep/b.rs"}
    assert all(700 <= len(prompt.text) <= 2400 for prompt in suite.prompts)
    assert len({prompt.text for prompt in suite.prompts}) == len(suite.prompts)
    assert load_suite(tmp_path).content_hash() == suite.content_hash()
    alone = load_suite(tmp_path / "a.py")
    assert {prompt.text for prompt in alone.prompts} <= {prompt.text for prompt in suite.prompts}


def test_directory_without_enough_source_is_refused(tmp_path: Path):
    (tmp_path / "short.py").write_text("x = 1\n")
    with pytest.raises(SuiteError, match="expected source files of at least 800 characters"):
        load_suite(tmp_path)


def test_what_stands_behind_the_limit_of_a_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "long.py"
    file.write_text("".join(f"line = {number}\n" for number in range(2000)))
    whole = source_suite(tmp_path, [file])
    monkeypatch.setattr(source, "SOURCE_FILE_CHARACTERS", 5000)
    start = source_suite(tmp_path, [file])
    assert {prompt.id for prompt in start.prompts} < {prompt.id for prompt in whole.prompts}


def test_source_that_cannot_be_opened_is_refused_in_one_line(tmp_path: Path):
    with pytest.raises(SuiteError, match=r"cannot read source .*gone\.py"):
        source_suite(tmp_path, [tmp_path / "gone.py"])
