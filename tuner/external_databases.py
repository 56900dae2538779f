"""Databases of other libraries that stand beside ours: each keeps its own, because their migrations share a table name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from casspec.storage.database.location import sqlite_file, storage_url
from casspec.storage.folders import user_data_directory

STUDY_SCHEMA = "casspec_optuna"
"""Of a PostgreSQL database: Optuna's tables keep to it, apart from ours."""

MIRRORED_BENCH = "mirrored-bench"
"""Stage documents of a calibration: benchmarks of its profile that MLflow was told of."""


@dataclass(frozen=True)
class ExternalDatabases:
    """Where Optuna and MLflow keep what belongs to one casspec database."""

    study_url: str
    """Of a server it holds the password: not to be printed."""
    tracking_uri: str
    artifact_root: Path

    @property
    def mirror_lock(self) -> Path:
        """Held by the one process that writes to MLflow's database."""
        return self.artifact_root.with_name(f"{self.artifact_root.name}.lock")

    @property
    def mirrored(self) -> bool:
        """Whether MLflow's database is there."""
        return Path(str(make_url(self.tracking_uri).database)).exists()

    def make_room(self) -> None:
        """Creates the folder they live in."""
        self.artifact_root.parent.mkdir(parents=True, exist_ok=True)


def external_databases(storage: str | None = None) -> ExternalDatabases:
    """Beside a SQLite database `casspec.db`: `casspec.optuna.db`, `casspec.mlflow.db` and the folder `casspec.mlflow`.

    On a server the study lies in the same database, for the workers of all machines to share. Files have no place
    there, so MLflow's live in the user data directory.
    """
    url = storage_url(storage)
    if url.get_backend_name() == "sqlite":
        # A `file:` URI, which SQLite reads itself, names a file too.
        file = sqlite_file(url) or Path(str(url.database).removeprefix("file:")).absolute()
        folder, stem = file.parent, file.stem
        study_url = _sqlite_url(folder / f"{stem}.optuna.db")
    else:
        location = url.set(password=None, query={}).render_as_string()
        folder = user_data_directory()
        stem = f"{url.database}-{hashlib.sha256(location.encode()).hexdigest()[:8]}".replace("/", "-")
        own = " ".join([*url.normalized_query.get("options", ()), f"-csearch_path={STUDY_SCHEMA}"])
        study_url = url.update_query_dict({"options": own}).render_as_string(hide_password=False)
    return ExternalDatabases(
        study_url=study_url,
        tracking_uri=_sqlite_url(folder / f"{stem}.mlflow.db"),
        artifact_root=folder / f"{stem}.mlflow",
    )


def _sqlite_url(file: Path) -> str:
    return URL.create("sqlite", database=str(file)).render_as_string()
