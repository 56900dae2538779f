"""A placed job, on the machine it was placed on. The store decides whether it runs: a second placement of a job finds its lease held."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

from casspec.hub.fleet.documents import Outcome, Placement
from casspec.hub.working.worker import Run, Worker, place_of
from casspec.storage import open_repository
from casspec.storage.database.location import ENVIRONMENT_VARIABLE, sqlite_file, storage_url
from casspec.storage.errors import CasspecError, StorageError
from casspec.storage.jobs.queue import Place

RunOf = Callable[[Placement, str], Run]
"""What a placement runs; the second argument is the URL of the store."""


def run_placement(document: str) -> str:
    """Calibrates: takes a `Placement` as JSON and returns an `Outcome` as JSON."""
    return execute(document, _calibration)


def execute(document: str, run_of: RunOf) -> str:
    """Runs a placement to its end. Errors come back as a line, so that nothing but text crosses."""
    placement = Placement.model_validate_json(document)
    try:
        return _ran(placement, run_of).canonical_json()
    except KeyboardInterrupt:
        return Outcome(status="queued", message="handed back").canonical_json()
    except CasspecError as error:
        return Outcome(message=f"{socket.gethostname()}: {' '.join(str(error).split())}").canonical_json()


def _ran(placement: Placement, run_of: RunOf) -> Outcome:
    storage = _storage_here(placement.host.storage)
    run = run_of(placement, storage)
    with open_repository(storage) as repository:
        job = Worker(repository, _device(placement), run).work_once(only=placement.job_id)
    return Outcome() if job is None else Outcome(status=job.status, message=job.message)


def _calibration(placement: Placement, storage: str) -> Run:
    from casspec.cli.options import set_up
    from casspec.hub.allowed import AllowedModels
    from casspec.hub.working.calibration import JobCalibration

    set_up(placement.device, placement.host.threads)
    directories = [Path(directory) for directory in placement.host.models_in]
    return JobCalibration(placement.device, AllowedModels(placement.host.allow_models, directories), storage)


def _device(placement: Placement) -> Place:
    """Of this machine: a GPU by its number; without one, a device for each kind that `ray start` named."""
    if placement.device == "cuda":
        return place_of("cuda", placement.kind)
    return Place(placement.kind, f"{socket.gethostname()}/{placement.kind}")


def _storage_here(told: str) -> str:
    """CASSPEC_STORAGE of this machine goes first: it may hold the password. Raises StorageError for a file of another machine."""
    storage = os.environ.get(ENVIRONMENT_VARIABLE) or told
    file = sqlite_file(storage_url(storage))
    if file is not None and not file.exists():
        raise StorageError(
            f"there is no {file} here: machines share one PostgreSQL database, name it with --storage of the hub "
            "or CASSPEC_STORAGE of `ray start`"
        )
    return storage
