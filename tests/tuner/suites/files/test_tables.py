"""Rows of CSV and Parquet, and which column holds the prompts."""

from __future__ import annotations

import builtins
import csv
import gzip
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.files import content, tables
from casspec.tuner.suites.files.content import Broken
from casspec.tuner.suites.files.json_values import Numbered
from casspec.tuner.suites.files.rows import LeftOut
from casspec.tuner.suites.files.tables import table


def read(path: Path, column: str | None = None) -> tuple[str | None, list[Numbered | LeftOut]]:
    with table(path, column) as found:
        return found.column, list(found.rows)


def written(folder: Path, text: str, name: str = "a.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def prompts(rows: list[Numbered | LeftOut]) -> list[Any]:
    return [row.value["prompt"] for row in rows if isinstance(row, Numbered)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), max_size=6))
def test_what_a_spreadsheet_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, delimiter: str, texts: list[str]
) -> None:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([["id", "prompt"], *([n, text] for n, text in enumerate(texts))])
    path = written(tmp_path_factory.mktemp("csv"), file.getvalue(), encoding="utf-8-sig")
    column, rows = read(path)
    assert column == "prompt"
    assert rows == [Numbered(row, {"id": str(row - 2), "prompt": text}) for row, text in enumerate(texts, start=2)]


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("id,text,prompt", "prompt"),
        ("Question,instruction", "Question"),
        (" TEXT ,x", " TEXT "),
        ("instruction", "instruction"),
    ],
)
def test_a_column_is_found_by_its_name(tmp_path: Path, header: str, found: str) -> None:
    column, rows = read(written(tmp_path, f"{header}\n{header.replace(found, 'here')}\n"))
    assert (column, prompts(rows)) == (found, ["here"])


def test_a_column_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n1,2\n")
    with pytest.raises(
        SuiteError, match=r"no column prompt, text, question or instruction: name one as .*a\.csv:COLUMN"
    ):
        read(path)
    with pytest.raises(SuiteError, match="has no column 'c'; its columns are 'a', 'b'"):
        read(path, "c")
    assert prompts(read(path, "b")[1]) == ["2"]
    with pytest.raises(SuiteError, match="its columns are none"):
        read(written(tmp_path, "", "empty.csv"))


def test_short_rows_have_no_prompt_and_empty_ones_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, "id,prompt\r\n1\r\n\r\n2,b,c\r\n")
    assert read(path)[1] == [
        Numbered(2, {"id": "1", "prompt": None}),
        Numbered(4, {"id": "2", "prompt": "b"}),
    ]


def test_tabs_separate_in_a_file_of_that_name(tmp_path: Path) -> None:
    assert prompts(read(written(tmp_path, "prompt\tb\na, b; c\td\n", "a.tsv"))[1]) == ["a, b; c"]


def test_a_quote_that_never_ends_ends_the_file_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROW_BYTES", 1000)
    path = written(tmp_path, 'prompt\nfine\n"never\n' + "ends\n" * 1000)
    before = csv.field_size_limit()
    good, fault = read(path)[1]
    assert good == Numbered(2, {"prompt": "fine"})
    assert fault == LeftOut(3, "field larger than field limit (1000); what follows is not read")
    assert csv.field_size_limit() == before


def test_other_encodings_and_long_lines_end_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "prompt\nfine\né\nfine\n", encoding="latin-1")
    assert read(path)[1][1] == LeftOut(3, "not UTF-8 (invalid continuation byte); what follows is not read")
    with pytest.raises(Broken, match="not UTF-8"):
        read(written(tmp_path, "prompt\n", "wide.csv", "utf-16"))
    monkeypatch.setattr(content, "ROW_BYTES", 20)
    with pytest.raises(Broken, match="a line longer than"):
        read(written(tmp_path, "prompt\n" + "a" * 30, "long.csv"))


# -------------------------------------------------------------------------------------------------------------- Parquet


@pytest.fixture
def parquet(tmp_path: Path):
    """Writes columns as a Parquet file."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    def write(columns: dict[str, Any], name: str = "a.parquet", **options: Any) -> Path:
        parquet.write_table(pyarrow.table(columns), tmp_path / name, **options)
        return tmp_path / name

    return write


def test_a_text_column_of_parquet_is_found_and_counted_from_one(parquet) -> None:
    texts = [f"text {n}" for n in range(40)]
    column, rows = read(parquet({"question": texts, "id": list(range(40)), "other": [1.0] * 40}))
    assert column == "question"
    assert rows == [Numbered(n + 1, {"id": n, "prompt": text}) for n, text in enumerate(texts)]
    assert prompts(read(parquet({"a": ["x"]}), "a")[1]) == ["x"]


def test_a_column_of_conversations_is_preferred_and_read_as_rows_of_json_are(parquet) -> None:
    talk = [{"role": "user", "content": "a"}]
    column, rows = read(parquet({"prompt": ["x"], "messages": [talk], "category": ["qa"]}))
    assert (column, rows) == (None, [Numbered(1, {"messages": talk, "category": "qa"})])


def test_parquet_is_read_out_of_gzip(parquet, tmp_path: Path) -> None:
    packed = tmp_path / "b.parquet.gz"
    packed.write_bytes(gzip.compress(parquet({"prompt": ["x"]}).read_bytes()))
    assert prompts(read(packed)[1]) == ["x"]


def test_a_part_that_is_too_big_to_unpack_is_refused(parquet, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet({"prompt": ["a" * 5000], "other": ["b"]})
    monkeypatch.setattr(tables, "HELD_BYTES", 1000)
    with pytest.raises(Broken, match="column prompt has a row group of 0 MiB, more than"):
        read(path)
    assert prompts(read(path, "other")[1]) == ["b"]
    monkeypatch.undo()
    monkeypatch.setattr(tables, "ROW_BYTES", 100)
    assert read(path)[1] == [LeftOut(1, "longer than 4 MiB; what follows is not read")]


def test_a_file_that_is_no_parquet_is_told_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(Broken, match="no Parquet file") as caught:
        read(written(tmp_path, "prompt\na\n", "a.parquet"))
    assert "\n" not in str(caught.value)


def test_without_pyarrow_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SuiteError, match=r"takes pyarrow, not installed here; run: pip install 'casspec\[parquet\]'"):
        read(written(tmp_path, "", "a.parquet"))
