"""The part of the repository that a calibration fills: what was measured and found out so far.

Saving is idempotent: a row is identified by the calibration and what was measured, the first value saved stays, and
every `save_*` returns the document that is stored. So a resumed run, or two processes at once, end with the same rows
as one uninterrupted run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from casspec.storage.database.connection import Database
from casspec.storage.database.rows import canonical_json, insert_once, now, sha256_of
from casspec.storage.database.tables import (
    Base,
    CalibrationRow,
    CandidateRow,
    DeviceRow,
    LatencyModelRow,
    LatencySampleRow,
    ModelRow,
    StageDocumentRow,
)
from casspec.storage.errors import CalibrationNotFound
from casspec.storage.leases import Lease, Leases, check
from casspec.storage.schema import (
    DeviceCeilings,
    DeviceFingerprint,
    Document,
    DrafterCandidate,
    LatencyModel,
    LatencySample,
    ModelFingerprint,
    Precision,
    SkipSet,
)

D = TypeVar("D", bound=Document)

VERDICT_KIND = "precision-verdict"
"""Stage documents by precision: whether it is offered, and why not."""

TURN = 0x63617373
"""Key of the lock that `Measurements.alone` takes on a PostgreSQL server."""

LONGEST_TURN = "60s"
"""A server takes the lock back from a machine that has gone silent while holding it."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """A handle on one calibration: pass its `calibration_id` to whatever saves or reads measurements.

    `attempt` counts from 1; a forced repetition with the same inputs is the next one.
    """

    calibration_id: str
    attempt: int
    status: Literal["running", "finished"]


@dataclass(frozen=True, slots=True)
class StoredCalibration:
    """A calibration as it stands in the store, for whoever takes part in it from elsewhere."""

    calibration_id: str
    model: ModelFingerprint
    dtype: str
    settings: dict[str, Any]


class Measurements:
    """Calibrations, and the documents that belong to one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.leases = Leases(database)

    def calibration(
        self,
        model: ModelFingerprint,
        device: DeviceFingerprint,
        dtype: str,
        settings: Mapping[str, Any],
        *,
        force: bool = False,
    ) -> Calibration:
        """The newest calibration of exactly these inputs, running or finished; created when there is none.

        `settings`: JSON values, everything else that decides the outcome (suite hash, seed, budgets ...). `force`
        always starts a new attempt, and earlier ones stay; an interrupted forced attempt is the newest one, so the
        next call without `force` continues it.
        """
        settings_hash = hash_of_settings(model, device, dtype, settings)
        with self._database.writing() as session:
            newest = newest_attempt(session, settings_hash)
            if newest is not None and not force:
                return _handle(newest)
            attempt, started_at = newest.attempt + 1 if newest else 1, now()
            _save_device(session, device)
            insert_once(
                session,
                ModelRow,
                model_hash=model.content_hash(),
                name=model.name,
                family=model.family,
                n_layers=model.n_layers,
                document=model.canonical_json(),
            )
            insert_once(
                session,
                CalibrationRow,
                # Not the hash's own digits: Optuna and MLflow keep runs by this ID, also those of a calibration deleted here.
                calibration_id=f"{sha256_of([settings_hash, started_at])[:16]}-{attempt}",
                settings_hash=settings_hash,
                attempt=attempt,
                model_hash=model.content_hash(),
                device_hash=device.content_hash(),
                dtype=dtype,
                settings=canonical_json(dict(settings)),
                started_at=started_at,
            )
            created = newest_attempt(session, settings_hash)
            assert created is not None
            return _handle(created)

    def stored_calibration(
        self, selection: str, wanted: Callable[[Mapping[str, Any]], bool] = lambda settings: True
    ) -> StoredCalibration:
        """The calibration with this ID or unique beginning of one, or the `latest` that is not finished and whose settings are `wanted`.

        Raises CalibrationNotFound.
        """
        newest_first = select(CalibrationRow).order_by(CalibrationRow.started_at.desc())
        with self._database.reading() as session:
            if selection == "latest":
                unfinished = session.scalars(newest_first.where(CalibrationRow.finished_at.is_(None)))
                found = [row for row in unfinished if wanted(json.loads(row.settings))][:1]
            else:
                starts = CalibrationRow.calibration_id.startswith(selection.lower(), autoescape=True)
                found = list(session.scalars(newest_first.where(starts).limit(2))) if selection else []
            if not found:
                what = "no calibration is under way" if selection == "latest" else f"no calibration {selection!r}"
                raise CalibrationNotFound(f"{what} in {self._database}: start one with `casspec calibrate`")
            if len(found) > 1:
                raise CalibrationNotFound(f"calibration {selection!r} is ambiguous: give more digits of the ID")
            row = found[0]
            model = ModelFingerprint.model_validate_json(session.get_one(ModelRow, row.model_hash).document)
            return StoredCalibration(row.calibration_id, model, row.dtype, json.loads(row.settings))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lets one process of all that use this database at a time into the block; the others wait.

        For what has to be decided together and lies partly elsewhere. What this thread writes to this database inside the block
        is kept with the block, or not at all; on SQLite nobody else can write meanwhile. A process that dies inside gives its
        turn back.
        """
        with self._database.joining() as session:
            session.connection()  # begins; on SQLite with the write lock
            if session.get_bind().dialect.name == "postgresql":
                session.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{LONGEST_TURN}'"))
                session.execute(select(func.pg_advisory_xact_lock(TURN)))
            yield

    def save_device(self, device: DeviceFingerprint) -> None:
        """Stores the device; measured ceilings replace the ones stored before."""
        with self._database.writing() as session:
            _save_device(session, device)

    def device_ceilings(self, device: DeviceFingerprint) -> DeviceCeilings | None:
        """The ceilings last measured on this device, None before the first time."""
        with self._database.reading() as session:
            row = session.get(DeviceRow, device.content_hash())
            return DeviceCeilings.model_validate_json(row.ceilings) if row and row.ceilings else None

    def save_latency_sample(self, calibration_id: str, sample: LatencySample) -> LatencySample:
        """Identified by its point."""
        return self._save_once(
            sample,
            LatencySampleRow,
            {"calibration_id": calibration_id, "point": sample.point.canonical_json()},
            position=sample.order,
            n=sample.measurement.n,
            median_ms=sample.measurement.median_ms,
            spread=sample.measurement.spread,
        )

    def latency_samples(self, calibration_id: str) -> list[LatencySample]:
        """In the order they were measured."""
        statement = (
            select(LatencySampleRow.document)
            .where(LatencySampleRow.calibration_id == calibration_id)
            .order_by(LatencySampleRow.position, LatencySampleRow.point)
        )
        return self._documents(LatencySample, statement)

    def save_latency_model(self, calibration_id: str, model: LatencyModel) -> LatencyModel:
        """One a calibration."""
        key = {"calibration_id": calibration_id}
        return self._save_once(model, LatencyModelRow, key, cv_median_error=model.cv_median_error)

    def latency_model(self, calibration_id: str) -> LatencyModel | None:
        statement = select(LatencyModelRow.document).where(LatencyModelRow.calibration_id == calibration_id)
        return next(iter(self._documents(LatencyModel, statement)), None)

    def save_candidate(
        self, calibration_id: str, candidate: DrafterCandidate, lease: Lease | None = None
    ) -> DrafterCandidate:
        """Identified by its plan: skip set and precision. Raises LeaseLost where `lease` is held no more."""
        precision = candidate.quantization.precision
        return self._save_once(
            candidate,
            CandidateRow,
            {"calibration_id": calibration_id, "plan_hash": plan_hash(candidate.skip, precision)},
            lease,
            n_skipped=len(candidate.skip),
            precision=str(precision),
            acceptance=candidate.acceptance,
            cost=candidate.cost,
            source=candidate.source,
            saved_at=now(),
        )

    def candidates(self, calibration_id: str) -> list[DrafterCandidate]:
        """In the order they were evaluated."""
        statement = (
            select(CandidateRow.document)
            .where(CandidateRow.calibration_id == calibration_id)
            .order_by(CandidateRow.saved_at, CandidateRow.plan_hash)
        )
        return self._documents(DrafterCandidate, statement)

    def count_candidates(self, calibration_id: str) -> int:
        """How many were evaluated."""
        counted = select(func.count()).select_from(CandidateRow).where(CandidateRow.calibration_id == calibration_id)
        with self._database.reading() as session:
            return session.scalar(counted) or 0

    def put_document(self, calibration_id: str, kind: str, key: str, value: Any) -> Any:
        """Keeps a JSON value under (calibration, kind, key) and returns the one that is stored, the first ever put."""
        with self._database.writing() as session:
            return keep_document(session, calibration_id, kind, key, value)

    def get_document(self, calibration_id: str, kind: str, key: str) -> Any | None:
        """The value kept under (calibration, kind, key), None when there is none."""
        with self._database.reading() as session:
            row = session.get(StageDocumentRow, {"calibration_id": calibration_id, "kind": kind, "key": key})
            return None if row is None else json.loads(row.document)

    def documents(self, calibration_id: str, kind: str) -> dict[str, Any]:
        """All values of a kind, by key."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(StageDocumentRow)
                .where(StageDocumentRow.calibration_id == calibration_id, StageDocumentRow.kind == kind)
                .order_by(StageDocumentRow.key)
            )
            return {row.key: json.loads(row.document) for row in rows}

    def _save_once(
        self, document: D, table: type[Base], key: dict[str, str], lease: Lease | None = None, **values: Any
    ) -> D:
        with self._database.writing() as session:
            if lease is not None:
                check(session, lease)
            insert_once(session, table, **key, **values, document=document.canonical_json())
            stored = session.scalar(select(table.__table__.c.document).filter_by(**key))
            return type(document).model_validate_json(str(stored))

    def _documents(self, kind: type[D], statement: Any) -> list[D]:
        with self._database.reading() as session:
            return [kind.model_validate_json(text) for text in session.scalars(statement)]


def hash_of_settings(
    model: ModelFingerprint, device: DeviceFingerprint, dtype: str, settings: Mapping[str, Any]
) -> str:
    """What makes two calibrations the same one."""
    return sha256_of([model.content_hash(), device.content_hash(), dtype, dict(settings)])


def newest_attempt(session: Session, settings_hash: str) -> CalibrationRow | None:
    same = CalibrationRow.settings_hash == settings_hash
    newest = select(func.max(CalibrationRow.attempt)).where(same).scalar_subquery()
    return session.scalar(select(CalibrationRow).where(same, CalibrationRow.attempt == newest))


def plan_hash(skip: SkipSet, precision: Precision) -> str:
    """What makes two candidates of a calibration the same one."""
    return sha256_of([skip.canonical_json(), str(precision)])


def keep_document(session: Session, calibration_id: str, kind: str, key: str, value: Any) -> Any:
    """`Measurements.put_document` inside a unit of work that does more."""
    names = {"calibration_id": calibration_id, "kind": kind, "key": key}
    insert_once(session, StageDocumentRow, **names, document=canonical_json(value))
    return json.loads(session.get_one(StageDocumentRow, names).document)


def _save_device(session: Session, device: DeviceFingerprint) -> None:
    identity = device.model_copy(update={"ceilings": None})
    insert_once(
        session,
        DeviceRow,
        device_hash=device.content_hash(),
        kind=device.kind,
        name=device.name,
        document=identity.canonical_json(),
    )
    if device.ceilings is not None:
        session.get_one(DeviceRow, device.content_hash()).ceilings = device.ceilings.canonical_json()


def _handle(row: CalibrationRow) -> Calibration:
    return Calibration(row.calibration_id, row.attempt, "running" if row.finished_at is None else "finished")
