from __future__ import annotations

from pathlib import Path

import pytest

from casspec.server.hub_link.traffic_sample import traffic_sample
from casspec.storage.errors import StorageError


def lines(first: int, last: int) -> str:
    return "".join(f'{{"n": {n:02}}}\n' for n in range(first, last))


def test_the_newest_whole_lines_are_the_sample(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    file.write_text(lines(0, 20) + '{"n"', "utf-8")
    assert traffic_sample(file) == lines(0, 20)
    size = len(lines(0, 1))
    end = len('{"n"')
    assert traffic_sample(file, 17 * size + end) == lines(3, 20), "that begins with a line is whole"
    assert traffic_sample(file, 17 * size + end + 1) == lines(3, 20)
    assert traffic_sample(file, 17 * size + end - 1) == lines(4, 20)
    assert traffic_sample(file, 16 * size + end - 1) is None, "too few of them"


def test_too_few_requests_are_none(tmp_path: Path) -> None:
    file = tmp_path / "traffic.jsonl"
    for content in ("", lines(0, 15), lines(0, 15) + '{"n"'):
        file.write_text(content, "utf-8")
        assert traffic_sample(file) is None


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        traffic_sample(tmp_path / "none")
