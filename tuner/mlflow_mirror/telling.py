"""MLflow told without ever failing for it: where it cannot be, that is said in one line, and made up for at the next opportunity."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from casspec.storage.errors import MirrorError, ProfileNotFound
from casspec.storage.repository import Repository
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.external_databases import ExternalDatabases
from casspec.tuner.mlflow_mirror.mirror import MLflowMirror
from casspec.tuner.mlflow_mirror.owed import Debt, Owed

T = TypeVar("T")

_log = logging.getLogger("casspec")


def tell_mlflow(
    repository: Repository, databases: ExternalDatabases, debt: Debt, write: Callable[[MLflowMirror], T]
) -> T | None:
    """What `write` returns; None, and one line in the log, where MLflow cannot be told.

    Afterwards MLflow is told what it could not be told before.

    Args:
        debt: what is owed as long as `write` has not come through.
    """
    owed = Owed(databases.owed)
    owed.add(debt)
    try:
        mirror = MLflowMirror(databases)
        outcome = write(mirror)
    except MirrorError as error:
        _log.warning("%s; it is stored here, and told to MLflow by the next command that can", error)
        return None
    owed.settle(debt)
    _make_up(repository, mirror, owed)
    return outcome


def make_up(repository: Repository, databases: ExternalDatabases) -> None:
    """Tells MLflow what it could not be told before, if there is anything; one line in the log where it still cannot be."""
    owed = Owed(databases.owed)
    if owed.debts():
        try:
            mirror = MLflowMirror(databases)
        except MirrorError as error:
            _log.warning("%s; it has yet to be told of earlier calibrations or benchmarks", error)
            return
        _make_up(repository, mirror, owed)


def _make_up(repository: Repository, mirror: MLflowMirror, owed: Owed) -> None:
    for debt in owed.debts():
        try:
            _told(repository, mirror, debt)
        except MirrorError as error:
            _log.warning("%s; it has yet to be told of earlier calibrations or benchmarks", error)
            return
        owed.settle(debt)


def _told(repository: Repository, mirror: MLflowMirror, debt: Debt) -> None:
    """Tells what a debt names, if it is still stored."""
    try:
        history = None if debt.profile_hash is None else CalibrationHistory.of_profile(repository, debt.profile_hash)
    except ProfileNotFound:
        return
    if debt.bench_hash is None:
        if history is not None and history.calibration_id is not None:
            mirror.mirror(history)
        return
    for report in repository.bench_reports(debt.profile_hash):
        if report.content_hash() == debt.bench_hash:
            mirror.mirror_bench(report, history)
