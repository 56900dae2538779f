"""`casspec hub token`: who may ask a hub. Works on the store that the hub is over."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from casspec.cli.console import output, say
from casspec.cli.options import format_option, storage_option

if TYPE_CHECKING:
    from casspec.storage.tokens import Role

ROLES = ("read", "submit", "admin")


@click.group()
def command() -> None:
    """Make, list and revoke tokens that open a hub. A hub that runs follows at its next request."""


@command.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--role",
    type=click.Choice(ROLES),
    default="read",
    show_default=True,
    help="read looks, submit also queues and cancels jobs, admin also promotes and deletes profiles.",
)
@click.option(
    "--days", type=click.IntRange(1, 3650), default=90, show_default=True, metavar="N", help="How long it opens."
)
@storage_option
def create(name: str, role: Role, days: int, storage: str | None) -> None:
    """Make a token for NAME, a person or a program, and print it: this once."""
    from casspec.storage import open_repository

    with open_repository(storage) as repository:
        token = repository.tokens.create(name, role, days)
    click.echo(token)
    say(
        f"token '{name}' of role {role} opens for {days} days; it is not shown again, clients take it from CASSPEC_HUB_KEY"
    )


@command.command(name="list")
@format_option("table", "json")
@storage_option
def list_(output_format: str, storage: str | None) -> None:
    """List tokens, the latest first, without what opens."""
    from casspec.storage import open_repository

    with open_repository(storage) as repository:
        tokens, at = repository.tokens.listed(), repository.tokens.now()
    hidden = ("token_hash",)
    rows = [
        {name: value for name, value in asdict(token).items() if name not in hidden} | {"state": token.state(at)}
        for token in tokens
    ]
    if output_format == "json":
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        say("no tokens yet: `casspec hub token create NAME` makes one")
    else:
        from rich.table import Table

        table = Table("token", "role", "state", "created", "expires", "last used")
        for row in rows:
            days = (
                str(row[name])[:10] if row[name] else "never" for name in ("created_at", "expires_at", "last_used_on")
            )
            table.add_row(row["name"], row["role"], row["state"], *days)
        output.print(table)


@command.command()
@click.argument("name", metavar="NAME")
@storage_option
def revoke(name: str, storage: str | None) -> None:
    """End the token of NAME, sessions of browsers included."""
    from casspec.storage import open_repository

    with open_repository(storage) as repository:
        repository.tokens.revoke(name)
    say(f"token '{name}' opens nothing any more")
