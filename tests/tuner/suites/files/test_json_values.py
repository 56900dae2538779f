"""Values out of JSON lines, lists and single objects, and where reading stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.tuner.suites.files import content, json_values
from casspec.tuner.suites.files.content import Broken
from casspec.tuner.suites.files.json_values import Numbered, layout, values
from casspec.tuner.suites.files.rows import LeftOut

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def written(folder: Path, text: str | bytes, name: str = "a.json") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@given(st.lists(any_json, max_size=8), st.sampled_from([None, 1]), st.integers(1, 9))
def test_a_list_gives_its_values_however_it_is_laid_out_and_cut_into_pieces(
    tmp_path_factory: pytest.TempPathFactory, rows: list, indent: int | None, piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "PIECE_BYTES", piece)
        path = written(tmp_path_factory.mktemp("list"), json.dumps(rows, indent=indent, ensure_ascii=False))
        assert list(values(path)) == [Numbered(row, value) for row, value in enumerate(rows, start=1)]


@given(st.lists(any_json, min_size=1, max_size=8), st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_lines_give_their_values_with_the_numbers_of_the_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list, line_end: str
) -> None:
    rows = [{"first": "decides"}, *rows]
    path = written(tmp_path_factory.mktemp("lines"), line_end.join(map(json.dumps, rows)), "a.jsonl")
    step = line_end.count("\n")
    assert list(values(path)) == [Numbered(1 + step * place, value) for place, value in enumerate(rows)]


def test_an_object_over_several_lines_is_one_row_in_a_json_file(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "a"}]}
    path = written(tmp_path, json.dumps(row, indent=2))
    assert (layout(path), list(values(path))) == ("JSON", [Numbered(1, row)])
    assert layout(written(tmp_path, json.dumps(row))) == "JSONL"
    assert layout(written(tmp_path, f"{json.dumps(row)}\n{json.dumps(row)}")) == "JSONL"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"a": }', "not valid JSON (Expecting value, column 7)"),
        (b'{"a": 1', "not valid JSON (Expecting ',' delimiter, column 8)"),
        (b'{"a": 1} {"a": 2}', "not valid JSON (Extra data, column 10)"),
        (b"\xff\xfe{", "not UTF-8 (invalid start byte)"),
        (b"[" * 200_000, "JSON nested too deeply"),
        (b'{"a": ' * 100_000, "JSON nested too deeply"),
        (b"9" * 10_000, "not valid JSON (a number of too many digits)"),
    ],
)
def test_a_line_that_is_no_json_is_left_out_and_the_next_one_read(tmp_path: Path, line: bytes, why: str) -> None:
    path = written(tmp_path, b'{"a": 1}\n' + line + b'\n{"a": 2}\n', "a.jsonl")
    assert list(values(path)) == [Numbered(1, {"a": 1}), LeftOut(2, why), Numbered(3, {"a": 2})]


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        ('{"a": }, {"a": 3}]', "not valid JSON (Expecting value, column 7); what follows is not read"),
        ("[" * 200_000, "JSON nested too deeply; what follows is not read"),
        ('"' + "a" * 5000 + '", 1]', "longer than 4 MiB; what follows is not read"),
    ],
)
def test_a_fault_ends_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: str, why: str) -> None:
    monkeypatch.setattr(json_values, "ROW_BYTES", 1000)
    monkeypatch.setattr(content, "PIECE_BYTES", 100)
    path = written(tmp_path, f'[{{"a": 1}}, {rest}')
    assert list(values(path)) == [Numbered(1, {"a": 1}), LeftOut(2, why)]


def test_a_list_without_an_end_and_one_with_something_behind_it_are_told(tmp_path: Path) -> None:
    cut = values(written(tmp_path, '[{"a": 1},\n', "cut.json"))
    assert next(cut) == Numbered(1, {"a": 1})
    with pytest.raises(Broken, match="the list has no end"):
        next(cut)
    more = written(tmp_path, '[{"a": 1}]\n[{"a": 2}]', "more.json")
    assert list(values(more)) == [Numbered(1, {"a": 1}), LeftOut(2, "text after the end of the list")]


def test_a_long_line_is_left_out_and_an_empty_file_has_no_values(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(content, "ROW_BYTES", 20)
    path = written(tmp_path, f'{{"a": 1}}\n{{"a": "{"b" * 30}"}}\n{{"a": 2}}', "a.jsonl")
    assert list(values(path)) == [Numbered(1, {"a": 1}), LeftOut(2, "longer than 4 MiB"), Numbered(3, {"a": 2})]
    assert list(values(written(tmp_path, ""))) == list(values(written(tmp_path, "[]"))) == []
