"""Options that commands about other engines share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

KEY = "CASSPEC_ENGINE_KEY"
UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "": 1.0}


class Duration(click.ParamType):
    """Seconds, or a number with its unit: 90s, 30m, 2h."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value).strip())
        seconds = float(found[1]) * UNITS_S[found[2]] if found else 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is no time: expected one like 90s, 30m or 2h", param, ctx)
        return seconds


class Counts(click.ParamType):
    """Positive whole numbers with commas between, ascending."""

    name = "counts"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Each once."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",")]
        if not all(word.isdigit() and 1 <= int(word) <= 4096 for word in words):
            self.fail(f"{value!r}: expected numbers from 1 on with commas between, for instance 1,4,16", param, ctx)
        return tuple(sorted({int(word) for word in words}))


def concurrency_option(default: str, told: str) -> Callable[[Function], Function]:
    """`--concurrency`."""
    return click.option(
        "--concurrency", type=Counts(), default=default, show_default=True, metavar="N,N,...", help=told
    )


key_option = click.option(
    "--key", envvar=KEY, show_envvar=True, metavar="KEY", help="Of the endpoint; better given in the environment."
)
