"""What is made once: whole or absent, whoever else makes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.storage.errors import StorageError
from casspec.whole import whole


def test_a_directory_appears_at_the_end_only(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "model"
    with whole(path, "it", 1) as partial:
        (partial / "weights").write_text("1")
        assert not path.exists()
    assert (path / "weights").read_text() == "1"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_out_of_it_appears_alone(tmp_path: Path) -> None:
    with whole(tmp_path / "model", "it", 1, made="inner") as partial:
        (partial / "inner").write_text("1")
        (partial / "rest").write_text("2")
    assert (tmp_path / "model").read_text() == "1"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_first_to_finish_stays(tmp_path: Path) -> None:
    with whole(tmp_path / "model", "it", 1) as slower:
        (slower / "by").write_text("slower")
        with whole(tmp_path / "model", "it", 1) as faster:
            (faster / "by").write_text("faster")
    assert (tmp_path / "model" / "by").read_text() == "faster"
    with whole(tmp_path / "model", "it", 1, replace=True) as newer:
        (newer / "by").write_text("newer")
    assert (tmp_path / "model" / "by").read_text() == "newer"
    assert len(list(tmp_path.iterdir())) == 1


def break_off(path: Path, error: BaseException) -> None:
    with whole(path, "it", 1) as partial:
        (partial / "half").touch()
        raise error


def test_an_error_leaves_nothing_and_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        break_off(tmp_path / "model", KeyboardInterrupt())
    with pytest.raises(StorageError, match=r"it cannot be written to .*model: broken; free some space"):
        break_off(tmp_path / "model", OSError("broken"))
    with pytest.raises(StorageError, match=r"it takes 1000000000\.0 GB"), whole(tmp_path / "model", "it", 10**18):
        pass
    assert list(tmp_path.iterdir()) == []
