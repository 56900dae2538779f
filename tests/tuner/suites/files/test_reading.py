"""Rows counted: what is used, what is left out and why, and where a suite is full."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.files import reading
from casspec.tuner.suites.files.content import Broken
from casspec.tuner.suites.files.reading import Reading, is_prompt_file, rows
from casspec.tuner.suites.files.rows import Found, LeftOut


def written(folder: Path, *told: object, name: str = "a.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in told))
    return path


def test_every_row_counts_once_used_or_with_a_reason(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "a"}, "{", "", {"prompt": ""}, {"messages": [{"role": "user", "content": "b"}]})
    read = Reading(path)
    read.read(path)
    assert [found.row for _, found in read.found] == [1, 5]
    assert [left_out.row for _, left_out in read.left_out] == [2, 4]
    assert list(read.kinds) == ["prompt rows (JSONL)", "OpenAI messages (JSONL)"]
    assert not read.is_full
    with pytest.raises(SuiteError, match=r"a\.jsonl, row 2: not valid JSON"):
        Reading(path, strict=True).read(path)


def test_a_question_asked_twice_is_left_out_but_files_of_a_folder_may_share_ids(tmp_path: Path) -> None:
    question = {"question_id": 1, "category": "qa", "turns": ["a"]}
    read = Reading(tmp_path)
    for name in ("a.jsonl", "b.jsonl"):
        read.read(written(tmp_path, question, question, name=name))
    assert len(read.found) == 2
    assert [(path.name, left_out.row) for path, left_out in read.left_out] == [("a.jsonl", 2), ("b.jsonl", 2)]


def test_a_suite_is_full_after_so_many_prompts_or_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, *({"prompt": "a" * 10} for _ in range(9)), "{")
    exactly = written(tmp_path, *({"prompt": "a" * 10} for _ in range(4)), name="b.jsonl")
    for limit, most in (("PROMPTS", 4), ("SUITE_CHARACTERS", 49)):
        with monkeypatch.context() as patch:
            patch.setattr(reading, limit, most)
            read, whole = Reading(path), Reading(exactly)
            read.read(path)
            whole.read(exactly)
        assert (len(read.found), read.is_full, read.left_out) == (4, True, [])
        assert (len(whole.found), whole.is_full) == (4, False)


def test_of_many_rows_left_out_only_the_first_are_kept_and_a_file_has_so_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROWS", 6)
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"prompt": "a"}, *[{}] * 9]))
    read = Reading(path)
    read.read(path)
    assert (len(read.found), read.n_left_out) == (1, 6)
    assert [left_out.row for _, left_out in read.left_out] == [2, 3, 4]
    with pytest.raises(SuiteError, match="row 7: what follows the first"):
        Reading(path, strict=True).read(written(tmp_path, *[{"prompt": "a"}] * 8, name="b.jsonl"))


def test_a_file_that_breaks_off_keeps_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"prompt": "a"},\n')
    read = Reading(path)
    read.read(path)
    assert [found.row for _, found in read.found] == [1]
    assert read.left_out == [(path, LeftOut(2, "the list has no end"))]


def test_a_text_is_one_prompt_without_its_last_line_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\n")
    ((row, kind, found),) = rows(path)
    assert isinstance(found, Found)
    assert (row, kind, found.request.turns) == (1, "text, one prompt a file", ("one\ntwo",))
    with pytest.raises(SuiteError, match="is a text, which has no column 'b'"):
        list(rows(path, "b"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\xff\xfea\0", "not UTF-8"),
        (b" \n", "empty text"),
        (b"", "empty text"),
        (b"a" * (4 << 20) + b"b", "longer than 4 MiB"),
    ],
)
def test_a_text_that_cannot_be_used_says_why(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    ((_, _, left_out),) = rows(path)
    assert isinstance(left_out, LeftOut)
    assert why in left_out.why


def test_a_named_field_is_what_is_asked(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "no", "ask": "yes", "id": "x"}, {"prompt": "no"}, "3")
    found = [each for _, _, each in rows(path, "ask")]
    assert isinstance(found[0], Found)
    assert (found[0].request.turns, found[0].request.id) == (("yes",), "x")
    assert found[1:] == [LeftOut(2, "no prompt"), LeftOut(3, "got a JSON int; expected an object")]


def test_a_file_that_is_not_packed_as_its_name_says_is_broken(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "a.csv.gz"):
        with pytest.raises(Broken, match="not a whole gzip file"):
            list(rows(written(tmp_path, {"prompt": "a"}, name=name)))
    ((_, _, left_out),) = rows(written(tmp_path, {"prompt": "a"}, name="a.txt.gz"))
    assert isinstance(left_out, LeftOut)


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("a.txt", True),
        ("a.JSON", True),
        ("a.csv.gz", True),
        ("a.parquet", True),
        ("a.py", False),
        ("a.gz", False),
        ("LICENSE", False),
    ],
)
def test_prompt_files_are_known_by_their_names(name: str, holds: bool) -> None:
    assert is_prompt_file(Path(name)) is holds
