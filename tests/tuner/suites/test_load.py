"""Suites from files and folders: what is read, and what is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.load import load_suite, located

QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Write about rain.", "Now without the letter e."]},
    {"question_id": 121, "category": "coding", "turns": ["Sum a list.", "Now in one line."]},
    {"question_id": 161, "category": "translation", "turns": ["Translate: Guten Tag"], "reference": ["Good day"]},
    {"question_id": 481, "category": "coding", "turns": ["Reverse a list."]},
]


def write_lines(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_spec_bench_questions_are_read_with_all_their_turns(tmp_path: Path):
    suite = load_suite(write_lines(tmp_path / "questions.jsonl", QUESTIONS))
    assert [prompt.id for prompt in suite.prompts] == ["81", "121", "161", "481"]
    assert suite.prompts[0].turns == ("Write about rain.", "Now without the letter e.")
    assert suite.prompts[0].text == "Write about rain."
    assert suite.name == "questions"
    assert {prompt.kind for prompt in suite.prompts} == {"chat"}


def test_a_suite_is_located_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_lines(tmp_path / "questions.jsonl", QUESTIONS)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    here = located("questions.jsonl")
    monkeypatch.chdir(tmp_path / "below")
    assert located("../questions.jsonl") == here == str(tmp_path / "questions.jsonl")
    assert load_suite(here).name == "questions"
    assert [located(name) for name in ("chat", "reference")] == ["chat", "reference"]


def test_mt_bench_categories_are_reported_together_but_a_users_own_are_not(tmp_path: Path):
    suite = load_suite(write_lines(tmp_path / "questions.jsonl", QUESTIONS))
    assert [prompt.task for prompt in suite.prompts] == ["mt_bench", "mt_bench", "translation", "coding"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{not json", "not valid JSON"),
        ("[1, 2]", "got a JSON list; expected an object"),
        ({"category": "qa", "turns": ["a"]}, "question_id is None; expected a number or a string"),
        ({"question_id": 1, "turns": ["a"]}, "category is None"),
        ({"question_id": 1, "category": "overall", "turns": ["a"]}, "stands for all tasks together"),
        ({"question_id": 1, "category": "qa"}, "turns is None; expected a list"),
        ({"question_id": 1, "category": "qa", "turns": []}, "turns is \\[\\]"),
        ({"question_id": 1, "category": "qa", "turns": ["a", 3]}, "expected a list of one or more non-empty strings"),
        ({"question_id": 161, "category": "qa", "turns": ["a"]}, "question_id 161 was already used in line 3"),
    ],
)
def test_malformed_line_is_named_by_its_number(tmp_path: Path, line, expected: str):
    path = write_lines(tmp_path / "questions.jsonl", [*QUESTIONS, "", line])
    with pytest.raises(SuiteError, match=f"questions.jsonl, line 6: .*{expected}") as caught:
        load_suite(path)
    assert "\n" not in str(caught.value)


def test_missing_empty_and_binary_files_are_refused(tmp_path: Path):
    with pytest.raises(SuiteError, match=r"no suite at 'nowhere\.jsonl': expected 'chat', 'reference', a JSONL file"):
        load_suite("nowhere.jsonl")
    with pytest.raises(SuiteError, match="holds no prompts"):
        load_suite(write_lines(tmp_path / "empty.jsonl", [""]))
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match="expected a UTF-8 file of JSON lines"):
        load_suite(tmp_path / "binary.jsonl")


def test_content_hash_follows_the_prompts_and_not_the_file_name(tmp_path: Path):
    first = load_suite(write_lines(tmp_path / "a.jsonl", QUESTIONS))
    renamed = load_suite(write_lines(tmp_path / "b.jsonl", QUESTIONS))
    edited = load_suite(write_lines(tmp_path / "c.jsonl", [QUESTIONS[0] | {"turns": ["Write."]}, *QUESTIONS[1:]]))
    assert first.content_hash() == renamed.content_hash() != edited.content_hash()


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
