"""Keeps what engines were measured at. Saving is idempotent: the first document under a key stays, and is what `save_*` returns.

So a search that was killed goes on where it was, and ends with the rows of an uninterrupted one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from casspec.storage.database.connection import Database
from casspec.storage.database.rows import insert_once, insert_or_replace, now
from casspec.storage.database.tables import EngineMeasurementRow, EngineResultRow, EngineSearchRow, EngineTrialRow
from casspec.storage.document import Document
from casspec.storage.engines.documents import EngineResult, EngineSubject, EngineTrial
from casspec.storage.errors import EngineError, LeaseLost, ResultNotFound, StorageError
from casspec.storage.holders import holder_name, is_dead
from casspec.storage.leases import Lease, Leases, check

D = TypeVar("D", bound=Document)

LEASE = "engine-search"
"""Kind of the lease that whoever searches holds; the key is the subject's hash."""

EXPIRY_S, HEARTBEAT_S = 300.0, 30.0
"""Silence after which a searcher on another machine is presumed dead, and how often one that lives says so."""


class EngineStore:
    """Searches of a database. `subject_hash` is the content hash of an EngineSubject.

    Args:
        clock: seconds since 1970; None asks the database.
    """

    def __init__(self, database: Database, clock: Callable[[], float] | None = None) -> None:
        self._database = database
        self._leases = Leases(database, clock)
        self._held: Lease | None = None

    def begin(self, subject: EngineSubject) -> str:
        """Hash of the subject, whose search is stored or begins."""
        subject_hash = subject.content_hash()
        with self._database.writing() as session:
            insert_once(
                session,
                EngineSearchRow,
                subject_hash=subject_hash,
                engine=subject.engine,
                started_at=now(),
                document=subject.canonical_json(),
            )
        return subject_hash

    @contextmanager
    def alone(self, subject_hash: str, heartbeat_s: float = HEARTBEAT_S) -> Iterator[None]:
        """Nobody else searches for this subject inside the block, however long it takes. Raises EngineError where somebody does.

        What is saved inside is saved only while that is so: whoever was presumed dead and comes back writes nothing.
        """
        self._leases.living(LEASE, subject_hash, EXPIRY_S, is_dead)
        lease = self._leases.acquire(LEASE, subject_hash, holder_name(), EXPIRY_S)
        if lease is None:
            raise EngineError(
                "another process runs this very search: wait for it, or end it and run the same command again"
            )
        self._held = lease
        try:
            with self._beating(lease, heartbeat_s):
                yield
        except LeaseLost:
            raise EngineError(
                "another process took this search over while this one was silent: run the same command again to go on"
            ) from None
        finally:
            self._held = None
            self._leases.release(lease)

    @contextmanager
    def _beating(self, lease: Lease, heartbeat_s: float) -> Iterator[None]:
        """The lease is renewed inside the block, on a thread of its own."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(heartbeat_s):
                try:
                    self._leases.renew(lease)
                except LeaseLost:
                    return  # the next write says so
                except StorageError:
                    continue  # the next one may come through

        heart = threading.Thread(target=beat, name="casspec-engine-lease", daemon=True)
        heart.start()
        try:
            yield
        finally:
            stop.set()
            heart.join()

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """A unit of work that is kept only while the search is ours, where this is inside `alone`."""
        with self._database.writing() as session:
            if self._held is not None:
                check(session, self._held)
            yield session

    def forget(self, subject_hash: str) -> None:
        """Deletes a search with all it measured; one that runs has to be ended first, see `alone`."""
        with self._writing() as session:
            row = session.get(EngineSearchRow, subject_hash)
            if row is not None:
                session.delete(row)

    # ---------------------------------------------------------------------------------------------------- measurements

    def save(self, subject_hash: str, kind: str, key: str, document: D) -> D:
        """Keeps a document of a kind under a key."""
        with self._writing() as session:
            insert_once(
                session,
                EngineMeasurementRow,
                subject_hash=subject_hash,
                kind=kind,
                key=key,
                saved_at=now(),
                document=document.canonical_json(),
            )
            row = session.get_one(EngineMeasurementRow, (subject_hash, kind, key))
            return type(document).model_validate_json(row.document)

    def saved(self, subject_hash: str, kind: str, document: type[D]) -> dict[str, D]:
        """All of a kind by key, in the order they were saved."""
        chosen = select(EngineMeasurementRow).where(
            EngineMeasurementRow.subject_hash == subject_hash, EngineMeasurementRow.kind == kind
        )
        with self._database.reading() as session:
            rows = session.scalars(chosen.order_by(EngineMeasurementRow.saved_at, EngineMeasurementRow.key))
            return {row.key: document.model_validate_json(row.document) for row in rows}

    # ---------------------------------------------------------------------------------------------------------- trials

    def save_trials(self, subject_hash: str, trials: Sequence[EngineTrial]) -> None:
        """Identified by setting and number of requests. A failure replaces what was predicted."""
        with self._writing() as session:
            for trial in trials:
                key = {
                    "subject_hash": subject_hash,
                    "concurrency": trial.concurrency,
                    "setting_hash": trial.setting.content_hash(),
                }
                values = {
                    "status": trial.status,
                    "predicted": trial.predicted_tokens_per_second,
                    "saved_at": now(),
                    "document": trial.canonical_json(),
                }
                if trial.status == "failed":
                    insert_or_replace(session, EngineTrialRow, key, **values)
                else:
                    insert_once(session, EngineTrialRow, **key, **values)

    def trials(self, subject_hash: str) -> list[EngineTrial]:
        """By number of requests, the fastest prediction first."""
        chosen = select(EngineTrialRow.document).where(EngineTrialRow.subject_hash == subject_hash)
        order = EngineTrialRow.concurrency, EngineTrialRow.predicted.desc().nulls_last(), EngineTrialRow.setting_hash
        with self._database.reading() as session:
            return [EngineTrial.model_validate_json(text) for text in session.scalars(chosen.order_by(*order))]

    # --------------------------------------------------------------------------------------------------------- results

    def save_result(self, result: EngineResult) -> EngineResult:
        """Identified by its content; saved again it is the newest again."""
        with self._writing() as session:
            key = {"result_hash": result.content_hash()}
            values = {
                "subject_hash": result.subject.content_hash(),
                "engine": result.subject.engine,
                "saved_at": now(),
                "document": result.canonical_json(),
            }
            insert_or_replace(session, EngineResultRow, key, **values)
        return result

    def results(self, engine: str | None = None) -> list[tuple[str, EngineResult]]:
        """When each was saved (UTC, ISO 8601), and itself; the latest first."""
        chosen = select(EngineResultRow).order_by(EngineResultRow.saved_at.desc())
        if engine is not None:
            chosen = chosen.where(EngineResultRow.engine == engine)
        with self._database.reading() as session:
            return [(row.saved_at, EngineResult.model_validate_json(row.document)) for row in session.scalars(chosen)]

    def result(self, selection: str) -> EngineResult:
        """The result with this ID or unique beginning of one, or the `latest`. Raises ResultNotFound."""
        with self._database.reading() as session:
            return EngineResult.model_validate_json(self._find(session, selection).document)

    def result_of(self, subject_hash: str) -> EngineResult | None:
        """The newest of a search; None before there is one."""
        chosen = select(EngineResultRow.document).where(EngineResultRow.subject_hash == subject_hash)
        with self._database.reading() as session:
            text = session.scalar(chosen.order_by(EngineResultRow.saved_at.desc()).limit(1))
        return None if text is None else EngineResult.model_validate_json(text)

    def _find(self, session: Session, selection: str) -> EngineResultRow:
        chosen = select(EngineResultRow).order_by(EngineResultRow.saved_at.desc())
        if selection != "latest":
            chosen = chosen.where(EngineResultRow.result_hash.startswith(selection.lower(), autoescape=True))
        found = session.scalars(chosen.limit(2)).all() if selection else []
        if not found:
            what = "no result is stored" if selection == "latest" else f"no result {selection!r}"
            raise ResultNotFound(
                f"{what} in {self._database}: `casspec engine list` shows them, `casspec engine tune` makes one"
            )
        if len(found) > 1 and selection != "latest":
            raise ResultNotFound(f"result {selection!r} is ambiguous: give more digits of the ID")
        return found[0]
