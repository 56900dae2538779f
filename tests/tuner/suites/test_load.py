"""Suites by their names: files of every shape and folders, what is told of them, and what is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.load import load_suite, located

ASSETS = Path(__file__).parents[2] / "assets" / "suites"

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
    assert located("../questions.csv:column") == str(tmp_path / "questions.csv:column")
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
        ({"question_id": 161, "category": "qa", "turns": ["a"]}, "question_id 161 was already used in row 3"),
    ],
)
def test_malformed_line_is_left_out_and_named_by_its_number_or_refused(tmp_path: Path, line, expected: str):
    path = write_lines(tmp_path / "questions.jsonl", [*QUESTIONS, "", line])
    with pytest.raises(SuiteError, match=f"questions.jsonl, row 6: .*{expected}") as caught:
        load_suite(path, strict=True)
    assert "\n" not in str(caught.value)
    suite = load_suite(path)
    (told,) = suite.notes
    assert re.search(f"4 prompts from Spec-Bench questions \\(JSONL\\), 1 row left out: row 6 \\(.*{expected}", told)
    assert suite.content_hash() == load_suite(write_lines(tmp_path / "whole.jsonl", QUESTIONS)).content_hash()


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


# Computed before suites were read by shape: what was calibrated on such a file stays calibrated on it.
SPEC_BENCH_HASH = "fd273b0d1b9fde0c2bee0c4a0dca19a6797ad6f7b37b63b6124a54881e09f388"


def test_a_spec_bench_file_keeps_its_content_hash(tmp_path: Path):
    questions = [QUESTIONS[0], {"question_id": "x", "category": "qa", "turns": [" a\r\n"]}]
    assert load_suite(write_lines(tmp_path / "a.jsonl", questions)).content_hash() == SPEC_BENCH_HASH


@pytest.mark.parametrize(
    ("name", "ids", "told"),
    [
        ("bom_crlf.jsonl", ["1", "2"], "2 prompts from Spec-Bench questions (JSONL)"),
        ("openai_messages.jsonl", ["1", "2"], "2 prompts from OpenAI messages (JSONL)"),
        ("openai_batch.jsonl", ["a1"], "1 prompt from OpenAI batch requests (JSONL)"),
        (
            "sharegpt.json",
            ["c1"],
            "1 prompt from ShareGPT conversations (JSON), 1 row left out: row 2 (no question)",
        ),
        (
            "prompts_one_bad_row.jsonl",
            ["1", "2"],
            "2 prompts from prompt rows (JSONL), 1 row left out: row 3 (no prompt)",
        ),
        (
            "semicolons.csv",
            ["a", "c"],
            "2 prompts from column 'question' (CSV), 1 row left out: row 3 (empty prompt)",
        ),
        ("messages.parquet", ["1", "2"], "2 prompts from OpenAI messages (Parquet)"),
        ("one_prompt.txt", ["1"], "1 prompt from text, one prompt a file"),
        ("prompts.jsonl.gz", ["1", "2"], "2 prompts from prompt rows (JSONL), compressed"),
        (
            "folder",
            ["a.txt/1", "c.tsv/2", "deep/b.txt/1"],
            "3 prompts from 3 files: text, one prompt a file and column 'instruction' (TSV)",
        ),
    ],
)
def test_every_shape_is_read_and_told(name: str, ids: list[str], told: str):
    suite = load_suite(ASSETS / name)
    assert [prompt.id for prompt in suite.prompts] == ids
    assert suite.notes == (f"suite '{name.partition('.')[0]}': {told}",)
    assert {prompt.kind for prompt in suite.prompts} == {"chat"}
    assert all(prompt.text == prompt.text.strip() for prompt in suite.prompts)


def test_a_named_column_is_read_of_tables_and_of_json(tmp_path: Path):
    (tmp_path / "t.csv").write_text('text,ask\n"a, b",c\n')
    named = load_suite(f"{tmp_path}/t.csv:ask")
    assert ([prompt.text for prompt in named.prompts], named.name) == (["c"], "t")
    assert [prompt.text for prompt in load_suite(tmp_path / "t.csv").prompts] == ["a, b"]
    write_lines(tmp_path / "t.jsonl", [{"ask": "why", "category": "qa"}, {"other": 1}])
    (prompt,) = load_suite(f"{tmp_path}/t.jsonl:ask").prompts
    assert (prompt.text, prompt.task) == ("why", "qa")
    with pytest.raises(SuiteError, match=r"t\.csv has no column 'no'; its columns are 'text', 'ask'"):
        load_suite(f"{tmp_path}/t.csv:no")


def test_a_name_with_a_colon_is_a_file_where_there_is_one(tmp_path: Path):
    write_lines(tmp_path / "a.jsonl", [{"prompt": "one"}])
    write_lines(tmp_path / "a.jsonl:prompt", [{"prompt": "two"}])
    assert load_suite(f"{tmp_path}/a.jsonl:prompt").prompts[0].text == "two"
    with pytest.raises(SuiteError, match="no suite at"):
        load_suite(f"{tmp_path}/b.jsonl:prompt")


def test_a_folder_with_source_stays_one_of_source_and_says_what_it_passes_over(tmp_path: Path):
    (tmp_path / "a.py").write_text("".join(f"line = {number}\n" for number in range(400)))
    alone = load_suite(tmp_path)
    assert alone.notes == (f"suite '{tmp_path.name}': {len(alone.prompts)} prompts cut from 1 source file",)
    write_lines(tmp_path / "prompts.jsonl", [{"prompt": "Why?"}])
    both = load_suite(tmp_path)
    assert both.content_hash() == alone.content_hash()
    assert "1 file of prompts beside is not read" in both.notes[0]
    assert load_suite(tmp_path / "a.py").tasks == ("completion",)


def test_an_empty_folder_is_refused(tmp_path: Path):
    with pytest.raises(SuiteError, match="no prompts in"):
        load_suite(tmp_path)
