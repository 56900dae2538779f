"""Optuna's own database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from casspec.storage.errors import StorageError
from casspec.tuner.search.workers.optuna_storage import study_storage


def test_a_study_of_another_optuna_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    study_storage(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        database.commit()
    with pytest.raises(StorageError, match=r"install -U optuna`\. Or move .*study\.db away"):
        study_storage(f"sqlite:///{file}")
