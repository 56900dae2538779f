"""`casspec db`: the schema of the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from casspec.cli.console import say
from casspec.cli.options import storage_option
from casspec.storage.errors import StorageError

if TYPE_CHECKING:
    from casspec.storage.database.connection import Database


@click.group()
def command() -> None:
    """Create, upgrade and check the database of calibrations.

    Other commands create and upgrade it by themselves; these are for administrators and for trouble.
    """


@command.command()
@storage_option
def upgrade(storage: str | None) -> None:
    """Create the schema, or bring it to this release's."""
    with _database(storage) as database:
        before = database.schema().current
        after = database.upgrade().current
        change = f"schema {after}, nothing to do" if before == after else f"schema {before or 'none'} -> {after}"
        say(f"{database}: {change}")


@command.command()
@storage_option
def current(storage: str | None) -> None:
    """Print the schema the database has; `none` before it is created."""
    with _database(storage) as database:
        state = database.schema()
        click.echo(state.current or "none")
        say(f"{database}, this release writes {state.newest}")


@command.command()
@storage_option
def check(storage: str | None) -> None:
    """Compare tables with this release and look for damage; exit code 2 when something is wrong."""
    with _database(storage) as database:
        problems = database.problems()
        for problem in problems:
            say(problem)
        if problems:
            raise StorageError(
                f"the database {database} has {len(problems)} problem{'s' * (len(problems) > 1)}, see above"
            )
        say(f"{database}: no problems")


@contextmanager
def _database(storage: str | None) -> Iterator[Database]:
    from casspec.storage.database.connection import Database

    database = Database(storage)
    try:
        yield database
    finally:
        database.close()
