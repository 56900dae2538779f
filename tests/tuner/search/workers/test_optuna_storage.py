"""Optuna's own database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from casspec.storage.errors import StorageError
from casspec.tuner.search.workers.optuna_storage import open_study, study_failures, study_storage


def test_a_study_of_another_optuna_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    study_storage(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        database.commit()
    with pytest.raises(StorageError, match=r"install -U optuna`\. Or move .*study\.db away"):
        study_storage(f"sqlite:///{file}")


def test_a_study_is_opened_again_by_its_name_and_one_without_a_place_is_forgotten(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for opened, name in ((1, "a"), (1, "b"), (2, "a")):
        study = open_study(url, name)
        study.add_trial(optuna.trial.create_trial(values=[0.5, 0.5]))
        assert len(study.trials) == opened
    for _ in range(2):
        assert open_study(None, "a").trials == []


def test_writers_queue_and_wait_for_no_disk(tmp_path: Path) -> None:
    storage = study_storage(f"sqlite:///{tmp_path / 'study.db'}")
    with storage.engine.connect() as connection:
        settings = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert settings == ["wal", 1]


def test_a_failure_of_the_database_is_told_in_one_line() -> None:
    with (
        pytest.raises(StorageError, match=r"^the database of the search fails \(disk is full\): run") as told,
        study_failures(),
    ):
        raise optuna.exceptions.StorageInternalError("many lines") from OSError("disk is full\nand more")
    assert "\n" not in str(told.value)
