"""Tests in a process of their own: counted as they end, named where they fail, killed where they do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.gpu.alarm import OutOfTime, at_most
from benchmarks.gpu.measured.device_tests import FOLDER, FailedTests, run_tests
from benchmarks.gpu.stages import Work

PASSING = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_good(n):
    assert n

@pytest.mark.skip(reason="needs what FAILED elsewhere")
def test_left_out():
    pass
"""


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, "utf-8")
    return folder


def test_tests_are_counted(tmp_path: Path, work: Work) -> None:
    run_tests(work, written(tmp_path, "test_some.py", PASSING))
    assert work.outcome.rows == [{"passed": 2, "failed": 0, "skipped": 1}]
    assert work.outcome.notes == ["there are 3 in all"]


def test_those_of_this_repository_are_found() -> None:
    assert Path(__file__).parents[3] / "gpu" == FOLDER
    assert list(FOLDER.glob("test_*.py"))


def test_where_there_is_none_that_is_a_failure(tmp_path: Path, work: Work) -> None:
    with pytest.raises(FailedTests, match="there is no test in"):
        run_tests(work, written(tmp_path, "no_test.py", PASSING))


def test_failed_ones_are_named(tmp_path: Path, work: Work) -> None:
    written(tmp_path, "test_some.py", PASSING)
    with pytest.raises(FailedTests, match=r"1 of 4, the first one .*test_bad\.py::test_wrong"):
        run_tests(work, written(tmp_path, "test_bad.py", "def test_wrong():\n    assert False\n"))
    assert work.outcome.rows == [{"passed": 2, "failed": 1, "skipped": 1}]
    assert "::test_wrong" in work.outcome.notes[-1]


def test_a_file_that_cannot_be_read_is_a_failure(tmp_path: Path, work: Work) -> None:
    with pytest.raises(FailedTests, match=r"pytest ended with|test_broken"):
        run_tests(work, written(tmp_path, "test_broken.py", "import nothing_of_that_name\n"))


def test_what_does_not_end_is_killed_and_what_ended_counts(tmp_path: Path, work: Work) -> None:
    endless = "def test_a():\n    pass\n\ndef test_b():\n    while True:\n        pass\n"

    def time_is_over_once_one_ended() -> None:
        if work.outcome.rows:
            raise OutOfTime

    work.told = time_is_over_once_one_ended
    with pytest.raises(OutOfTime), at_most(100):
        run_tests(work, written(tmp_path, "test_endless.py", endless))
    assert work.outcome.rows == [{"passed": 1, "failed": 0, "skipped": 0}]
