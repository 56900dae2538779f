"""A suite out of files: IDs, halves, and the line that is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.files import gathered, reading
from casspec.tuner.suites.files.gathered import file_suite, folder_suite


def written(path: Path, *told: object) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in told))
    return path


def test_prompts_have_the_rows_own_ids_or_their_rows_each_once(tmp_path: Path) -> None:
    question = {"question_id": 3, "category": "qa", "turns": ["d"]}
    rows = [
        {"prompt": "a", "id": "x"},
        {"prompt": "b", "id": "x"},
        {"prompt": "c"},
        question,
        {"prompt": "e", "id": "x (2)"},
    ]
    suite = file_suite(written(tmp_path / "a.jsonl", *rows))
    assert {prompt.id: prompt.text for prompt in suite.prompts} == {
        "x": "a",
        "x (2)": "b",
        "3 (3)": "c",
        "3": "d",
        "x (2) (5)": "e",
    }
    assert [prompt.text for prompt in suite.prompts] == list("abcde")
    assert abs(len(suite.half("tuning")) - len(suite.half("reporting"))) <= len(suite.tasks)


def test_a_folder_names_prompts_after_their_files(tmp_path: Path) -> None:
    files = [
        written(tmp_path / "a#1.jsonl", {"prompt": "a"}),
        written(tmp_path / ("deep" * 30) / "b.jsonl", {"prompt": "b"}, {"prompt": "c"}),
        written(tmp_path / "broken.jsonl", "{"),
    ]
    suite = folder_suite(tmp_path, files)
    assert [prompt.id for prompt in suite.prompts] == ["a_1.jsonl/1", "row 1", "row 2"]
    assert suite.name == tmp_path.name
    (told,) = suite.notes
    assert "3 prompts from 2 files: prompt rows (JSONL), 1 row left out: broken.jsonl row 1 (not valid JSON" in told
    with pytest.raises(SuiteError, match=r"broken\.jsonl, row 1"):
        folder_suite(tmp_path, files, strict=True)


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathered, "FILES", 1)
    files = [written(tmp_path / f"{n}.jsonl", {"prompt": "a"}) for n in range(2)]
    with pytest.raises(SuiteError, match="holds 2 prompt files; expected at most 1"):
        folder_suite(tmp_path, files)


def test_the_first_three_rows_left_out_are_named_on_one_line(tmp_path: Path) -> None:
    bad = [{"prompt": "\n" * 5}, {"messages": [{"role": "a" * 500, "content": "b"}]}, "{", {"prompt": 3}, "[]"]
    (told,) = file_suite(written(tmp_path / "a.jsonl", {"prompt": "a"}, *bad)).notes
    assert told.startswith(
        "suite 'a': 1 prompt from prompt rows (JSONL), 5 rows left out: row 2 (empty prompt), row 3 ("
    )
    assert told.endswith(", ...")
    assert "row 4" in told
    assert "row 5" not in told
    assert len(told) < 400
    assert "\n" not in told


def test_a_file_without_prompts_is_refused_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(
        SuiteError, match=r"a\.jsonl holds no prompts; expected a UTF-8 file of JSON lines with turns, mess"
    ):
        file_suite(written(tmp_path / "a.jsonl"))
    with pytest.raises(SuiteError, match=r"2 rows left out, row 1 \(no prompt\), row 2 \(.*as FILE:FIELD$") as caught:
        file_suite(written(tmp_path / "a.jsonl", {"text": "a"}, "{"))
    assert "\n" not in str(caught.value)


def test_a_suite_that_is_full_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PROMPTS", 2)
    (told,) = file_suite(written(tmp_path / "a.jsonl", *[{"prompt": "a"}] * 3)).notes
    assert "2 prompts from prompt rows (JSONL), the first ones (a suite has at most" in told
