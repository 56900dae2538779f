"""Files of any size and kind, read within bounds."""

from __future__ import annotations

import gzip
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.storage.errors import SuiteError
from casspec.tuner.suites.files import content
from casspec.tuner.suites.files.content import Broken, characters, format_suffix, lines, opened, whole


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.jsonl", ".jsonl"), ("a.JSONL", ".jsonl"), ("a.csv.gz", ".csv"), ("a.gz", ""), ("a", ""), ("a.b.txt", ".txt")],
)
def test_the_format_is_told_by_the_suffix_before_gz(name: str, suffix: str) -> None:
    assert format_suffix(Path(name)) == suffix


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line), max_size=20), st.booleans())
def test_lines_are_those_of_the_file_without_the_byte_order_mark(told: list[bytes], has_mark: bool) -> None:
    expected = [line + b"\n" for line in told]
    mark = b"\xef\xbb\xbf"
    if expected and not has_mark:
        expected[0] = expected[0].removeprefix(mark)
    read = list(lines(io.BytesIO((mark if has_mark else b"") + b"".join(line + b"\n" for line in told))))
    assert read == (expected or ([b""] if has_mark else []))


def test_a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "ROW_BYTES", 10)
    monkeypatch.setattr(content, "PIECE_BYTES", 4)
    read = list(lines(io.BytesIO(b"a" * 10 + b"\n" + b"b" * 9 + b"\n" + b"c" * 35 + b"\nd\n" + b"e" * 11)))
    assert read == [None, b"b" * 9 + b"\n", None, b"d\n", None]


def test_a_file_is_read_up_to_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "FILE_BYTES", 10)
    read = lines(io.BytesIO(b"123\n" * 5))
    assert [next(read), next(read)] == [b"123\n"] * 2
    with pytest.raises(Broken, match="what follows the first"):
        next(read)
    with pytest.raises(Broken, match="what follows the first"):
        list(characters(io.BytesIO(b"1" * 11)))


def test_rows_are_read_up_to_their_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "ROWS", 3)
    assert len(list(lines(io.BytesIO(b"\n" * 3)))) == 3
    with pytest.raises(Broken, match="rows is not read"):
        list(lines(io.BytesIO(b"\n" * 4)))


def test_an_archive_that_unpacks_to_far_more_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "FILE_BYTES", 64 * content.MEBIBYTE)
    monkeypatch.setattr(content, "FILE_LIMIT", "what follows the first 64 MiB is not read")
    path = tmp_path / "zeros.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(80):
            file.write(bytes(content.MEBIBYTE))
    assert path.stat().st_size < content.MEBIBYTE
    tracemalloc.start()
    with pytest.raises(Broken, match="what follows the first 64 MiB is not read"), opened(path) as stream:
        list(lines(stream))
    with pytest.raises(Broken, match="longer than 4 MiB"), opened(path) as stream:
        whole(stream, content.ROW_BYTES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * content.ROW_BYTES


@pytest.mark.parametrize(
    "spoilt", [lambda packed: packed[:-12], lambda packed: b"plain text", lambda packed: packed[:6]]
)
def test_an_archive_that_is_none_or_not_whole_is_told(tmp_path: Path, spoilt) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(spoilt(gzip.compress(b"line\n" * 1000)))
    with pytest.raises(Broken, match="not a whole gzip file"), opened(path) as stream:
        list(lines(stream))


def test_a_file_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"cannot read suite .*: "), opened(tmp_path / "none.jsonl"):
        pass


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50), st.booleans())
def test_characters_are_those_of_the_text(text: str, has_mark: bool) -> None:
    told = text.removeprefix("\ufeff")
    stream = io.BytesIO(told.encode("utf-8-sig" if has_mark else "utf-8"))
    assert "".join(characters(stream)) == told.removeprefix("" if has_mark else "\ufeff")


def test_other_encodings_are_told() -> None:
    with pytest.raises(Broken, match="not UTF-8"):
        list(characters(io.BytesIO("é".encode("latin-1"))))
