"""Databases of Optuna and MLflow stand beside ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.tuner.external_databases import external_databases, without_secrets


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


def test_mlflow_of_a_team_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = external_databases(str(tmp_path / "mine.db"))
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://registry")
    assert external_databases(str(tmp_path / "mine.db")) == own, "a registry alone could not reach our files"
    for unset in ("", own.tracking_uri):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", unset)
        assert external_databases(str(tmp_path / "mine.db")) == own
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@host:5000/mlflow")
    team = external_databases(str(tmp_path / "mine.db"))
    assert (team.is_team, team.tracking_uri, team.registry_uri) == (
        True,
        "https://me:secret@host:5000/mlflow",
        "http://registry",
    )
    assert (team.artifact_root, team.shown) == (None, "https://host:5000/mlflow")
    assert team.study_url == own.study_url
    assert team.mirror_lock.parent == team.owed.parent == tmp_path
    assert {team.mirror_lock, team.owed}.isdisjoint({own.mirror_lock, own.owed})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:renewed@host:5000/mlflow")
    assert external_databases(str(tmp_path / "mine.db")).owed == team.owed


def test_a_database_of_a_team_has_its_artifacts_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://me:secret@host/mlflow")
    team = external_databases(str(tmp_path / "mine.db"))
    assert team.registry_uri == team.tracking_uri
    assert team.artifact_root is not None
    assert team.artifact_root.parent == tmp_path


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://host:5000", "http://host:5000"),
        ("https://me:p@ss@host/path?token=x#y", "https://host/path"),
        ("postgresql://host/base?user=me&password=p@ss", "postgresql://..."),
        ("http://me:pa?ss@host", "http://..."),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
        ("mlruns", "mlruns"),
    ],
)
def test_an_address_is_shown_without_secrets(uri: str, shown: str) -> None:
    assert without_secrets(uri) == shown
