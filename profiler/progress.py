"""How work tells how far it is: one protocol, for this floor and those above; `casspec/cli/console.py` shows it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Told how far a stage is."""

    def __call__(self, done: int, /, total: int | None = None, note: str = "") -> None:
        """`done` steps, of `total` once that is known; `note`: what is under way."""


class Stages(Protocol):
    """The stages of a command, run one after the other."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Progress]:
        """The progress of the stage that begins here and ends, complete, with its block."""


def silent(done: int, total: int | None = None, note: str = "") -> None:
    """Progress that nobody watches."""


Tell = Callable[[str], None]
"""Takes one line for the user."""


def untold(line: str) -> None:
    """A line that nobody reads."""
