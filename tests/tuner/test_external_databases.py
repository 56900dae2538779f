"""Databases of Optuna and MLflow stand beside ours."""

from __future__ import annotations

from pathlib import Path

from casspec.tuner.external_databases import external_databases


def test_external_databases_stand_beside_a_file_however_it_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = {external_databases(name) for name in ("my.db", "sqlite:///my.db", "sqlite:///file:my.db?uri=true")}
    assert [databases.artifact_root for databases in named] == [tmp_path / "my.mlflow"]


def test_external_databases_are_databases_of_their_own(tmp_path: Path) -> None:
    beside = external_databases(str(tmp_path / "mine.db"))
    assert beside.study_url == f"sqlite:///{tmp_path}/mine.optuna.db"
    assert beside.tracking_uri == f"sqlite:///{tmp_path}/mine.mlflow.db"
    server = external_databases("postgresql://user:secret@host/base")
    other = external_databases("postgresql://user:secret@elsewhere/base")
    assert server.study_url == "postgresql+psycopg://user:secret@host/base?options=-csearch_path%3Dcasspec_optuna"
    assert server.study_url != other.study_url
    assert server.tracking_uri != other.tracking_uri
    assert "secret" not in f"{server.tracking_uri} {server.artifact_root}"
