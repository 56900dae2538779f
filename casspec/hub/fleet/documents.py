"""What crosses Ray, as JSON: where a job is to run, and what came of it. Neither holds a password, a prompt or a measurement."""

from __future__ import annotations

from typing import Literal

from sqlalchemy.engine import URL

from casspec.storage.database.location import storage_url
from casspec.storage.document import Document
from casspec.storage.jobs.documents import JobStatus


class HostSettings(Document):
    """What every machine of a fleet is told."""

    storage: str
    """URL of the store, without its password."""
    threads: int | None = None
    allow_models: tuple[str, ...] = ()
    models_in: tuple[str, ...] = ()
    """Directories, where they are on the machines."""


class Placement(Document):
    """A job on a machine."""

    job_id: str
    kind: str
    """Of device: the resource by which Ray found the machine."""
    device: Literal["cpu", "cuda"]
    host: HostSettings


class Outcome(Document):
    """What came of a placement."""

    status: JobStatus | None = None
    """Of the job then; None where there was nothing to run."""
    message: str | None = None
    """Why it failed, or could not run, in one line."""


def crossing(storage: str | None) -> str:
    """The URL of a store as machines are told it: without its password, which each has of its own. Raises StorageError."""
    url: URL = storage_url(storage)
    query = {name: value for name, value in url.query.items() if name not in ("password", "passfile", "sslpassword")}
    return URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query).render_as_string(
        hide_password=False
    )
