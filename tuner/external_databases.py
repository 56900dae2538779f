"""Databases of other libraries that stand beside ours: each keeps its own, because their migrations share a table name.

MLflow's stands beside ours too, unless MLFLOW_TRACKING_URI names one of a team: a tracking server or a database.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from casspec.storage.database.location import sqlite_file, storage_url
from casspec.storage.folders import user_data_directory

STUDY_SCHEMA = "casspec_optuna"
"""Of a PostgreSQL database: Optuna's tables keep to it, apart from ours."""

MIRRORED_BENCH = "mirrored-bench"
"""Stage documents of a calibration: benchmarks of its profile that MLflow was told of, or that it is known to be owed."""


TRACKING_VARIABLE, REGISTRY_VARIABLE = "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"


@dataclass(frozen=True)
class ExternalDatabases:
    """Where Optuna and MLflow keep what belongs to one casspec database.

    Attributes:
        study_url, tracking_uri, registry_uri: may hold a password, so not to be printed.
        room: path that the names of everything kept for MLflow on this machine begin with.
        is_team: others write there too, and it may be away.
    """

    study_url: str
    tracking_uri: str
    registry_uri: str
    room: Path
    is_team: bool = False

    @property
    def artifact_root(self) -> Path | None:
        """Folder of artifacts; None where MLflow's server keeps them."""
        return self.room if is_database(self.tracking_uri) else None

    @property
    def mirror_lock(self) -> Path:
        """Held by the one process that writes to MLflow."""
        return self.room.with_name(f"{self.room.name}.lock")

    @property
    def owed(self) -> Path:
        """Folder that says what MLflow has not been told yet."""
        return self.room.with_name(f"{self.room.name}.owed")

    @property
    def mirrored(self) -> bool:
        """Whether MLflow's database is there; one of a team is taken to be."""
        return self.is_team or Path(str(make_url(self.tracking_uri).database)).exists()

    @property
    def shown(self) -> str:
        """Where MLflow keeps its runs, for messages."""
        return without_secrets(self.tracking_uri)

    def make_room(self) -> None:
        """Creates the folder they live in."""
        self.room.parent.mkdir(parents=True, exist_ok=True)


def external_databases(storage: str | None = None) -> ExternalDatabases:
    """Beside a SQLite database `casspec.db`: `casspec.optuna.db`, `casspec.mlflow.db` and the folder `casspec.mlflow`.

    On a server the study lies in the same database, for the workers of all machines to share. Files have no place
    there, so MLflow's live in the user data directory. MLFLOW_TRACKING_URI, and MLFLOW_REGISTRY_URI beside it, name others.
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
    own = _sqlite_url(folder / f"{stem}.mlflow.db")
    return _of_team(ExternalDatabases(study_url, own, own, folder / f"{stem}.mlflow"))


def is_database(uri: str) -> bool:
    """Whether MLflow reads and writes a database there itself, without a server that keeps artifacts."""
    return re.match(r"(sqlite|postgres(ql)?|mysql|mssql)(\+\w+)?://", uri) is not None


def without_secrets(uri: str) -> str:
    """An address for messages: neither user nor password, nor anything behind ? and #."""
    scheme, mark, rest = uri.partition("://")
    place = re.split(r"[?#]", rest)[0]
    if "@" in rest and "@" not in place:  # an unescaped ? or # in a password
        place = "..."
    return f"{scheme}{mark}{place.rpartition('@')[2]}"


def _of_team(own: ExternalDatabases) -> ExternalDatabases:
    """Ours, or where the environment says."""
    tracking = os.environ.get(TRACKING_VARIABLE, "").strip()
    if not tracking or tracking == own.tracking_uri:
        return own
    digits = hashlib.sha256(without_secrets(tracking).encode()).hexdigest()[:8]
    return replace(
        own,
        tracking_uri=tracking,
        registry_uri=os.environ.get(REGISTRY_VARIABLE, "").strip() or tracking,
        room=own.room.with_name(f"{own.room.name}-{digits}"),
        is_team=True,
    )


def _sqlite_url(file: Path) -> str:
    return URL.create("sqlite", database=str(file)).render_as_string()
