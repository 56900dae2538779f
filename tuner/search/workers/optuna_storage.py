"""The database of Optuna's studies: opened fit for several processes, its errors told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from casspec.storage.database.failures import storage_failures
from casspec.storage.database.location import printable
from casspec.storage.errors import StorageError
from casspec.tuner.external_databases import STUDY_SCHEMA
from casspec.tuner.search.space import DIRECTIONS

if TYPE_CHECKING:
    import optuna


def open_study(url: str | None, name: str) -> optuna.Study:
    """The study of this name in Optuna's own database, created where missing; without a URL one in memory."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        storage=None if url is None else study_storage(url),
        study_name=name,
        directions=DIRECTIONS,
        load_if_exists=True,
    )


def study_storage(url: str) -> optuna.storages.RDBStorage:
    """Optuna's own tables at this URL, created where missing, fit for several processes. Raises StorageError."""
    import optuna
    from sqlalchemy import create_engine, event
    from sqlalchemy.engine import make_url
    from sqlalchemy.schema import CreateSchema

    is_sqlite = url.startswith("sqlite")
    options: dict[str, Any] = {"connect_args": {"timeout" if is_sqlite else "connect_timeout": 30}}
    with storage_failures(make_url(url)):
        if not is_sqlite:
            options["pool_pre_ping"] = True
            with create_engine(url).begin() as connection:
                connection.execute(CreateSchema(STUDY_SCHEMA, if_not_exists=True))
        try:
            storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
        except RuntimeError as error:  # tables of another release of Optuna
            spare = f"move {printable(make_url(url))} away" if is_sqlite else f"drop schema {STUDY_SCHEMA}"
            raise StorageError(
                f"{str(error).rstrip('. ')}. Or {spare}: studies are built anew from the stored candidates"
            ) from error
    if is_sqlite:
        # As in `storage/database/connection.py`: writers queue from the start of a transaction, and no commit waits for the disk.
        # What a crash of the machine loses, `TrialLeases.follow` adds again; it breaks nothing.
        @event.listens_for(storage.engine, "connect")
        def _prepare(connection: Any, _record: Any) -> None:
            connection.isolation_level = None
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")

        @event.listens_for(storage.engine, "begin")
        def _begin(connection: Any) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        storage.engine.dispose()
    return storage


@contextmanager
def study_failures() -> Iterator[None]:
    """Raises StorageError of one line in place of Optuna's error about its database."""
    from optuna.exceptions import StorageInternalError

    try:
        yield
    except StorageInternalError as error:
        reason = str(error.__cause__).strip().partition("\n")[0]
        raise StorageError(f"the database of the search fails ({reason}): run the same command again") from error
