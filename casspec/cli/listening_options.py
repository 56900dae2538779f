"""Options of the commands that listen: where, who may ask, and amounts that bound what is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

a_file = click.Path(dir_okay=False, path_type=Path)


def listening_options(port: int, opens: str) -> Callable[[Function], Function]:
    """`--host`, `--port`, `--api-key` and `--api-key-file`.

    Args:
        port: the default. opens: what a key is for, in the help of `--api-key`.
    """
    options = (
        click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen."),
        click.option(
            "--port", type=click.IntRange(0, 65535), default=port, show_default=True, help="0 takes a free one."
        ),
        click.option("--api-key", multiple=True, metavar="KEY", envvar="CASSPEC_API_KEY", show_envvar=True, help=opens),
        click.option("--api-key-file", type=a_file, metavar="FILE", help="The same from a file, one a line."),
    )

    def decorate(function: Function) -> Function:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def amount_option(
    name: str, default: float, told: str, most: float | None = None, *, may_be_zero: bool = False
) -> Callable[[Function], Function]:
    """An option that is a number, its unit in its name and its default in its help.

    Args:
        told: the help. most: the largest it may be.
    """
    amount = click.FloatRange(min=0, min_open=not may_be_zero, max=most)
    return click.option(name, type=amount, default=default, show_default=True, help=told)
