"""What commands print: messages and progress on stderr, tables and data on stdout, so that a pipe carries data only.

`progress` shows nested bars on a terminal. Elsewhere (a log, CI) it writes a plain line now and then,
without control codes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

PLAIN_LINE_EVERY_S = 10.0

messages = Console(stderr=True, highlight=False)
output = Console(highlight=False)


def say(text: str) -> None:
    """One message for the user, printed as it stands (square brackets are no markup)."""
    messages.print(text, markup=False, soft_wrap=True)


class Bar(Protocol):
    """Progress of one stage or of a step within it."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """Sets how many steps are done, of how many if that has become known, and what is under way."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Adds to the steps done."""

    def step(self, name: str, total: int | None = None) -> AbstractContextManager[Bar]:
        """A bar nested in this one; it goes when its block ends."""


class Stages(Protocol):
    """The stages of a command, run one after the other."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Bar]:
        """The bar of the stage that begins here; it stays, complete, when its block ends without an exception."""


@contextmanager
def progress(
    stages: Sequence[str] = (), console: Console = messages, clock: Callable[[], float] = time.monotonic
) -> Iterator[Stages]:
    """Bars for a command of several `stages`, for instance profile, record, search, cascade, bench.

        with progress(("profile", "search")) as run:
            with run.stage("profile", total=120) as bar:
                bar.advance(note="verification, 8 tokens")

    Print data after the block: on a terminal it would land in the middle of the bars. `clock` counts seconds and
    matters off a terminal only.
    """
    if not console.is_terminal or console.is_dumb_terminal:
        yield _PlainStages(console, stages, clock)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console, redirect_stdout=False) as live:
        yield _LiveStages(live, stages)


def _numbered(stages: Sequence[str], name: str) -> str:
    return f"[{list(stages).index(name) + 1}/{len(stages)}] {name}" if name in stages else name


class _LiveStages:
    def __init__(self, live: Progress, stages: Sequence[str]) -> None:
        self._live = live
        self._stages = stages

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Bar]:
        label = _numbered(self._stages, name)
        bar = _LiveBar(self._live, self._live.add_task(label, total=total, note=""), depth=0)
        yield bar
        bar.complete()


class _LiveBar:
    def __init__(self, live: Progress, task: TaskID, depth: int) -> None:
        self._live = live
        self._task = task
        self._depth = depth
        self._done = 0
        self._total: int | None = None

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self._done = done
        self._live.update(self._task, completed=done, total=total, note=note)

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.update(self._done + steps, note=note)

    def complete(self) -> None:
        task = next(task for task in self._live.tasks if task.id == self._task)
        total = int(task.total) if task.total is not None else max(self._done, 1)
        self.update(total, total)
        self._live.stop_task(self._task)

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Bar]:
        depth = self._depth + 1
        label = "  " * depth + name
        task = self._live.add_task(label, total=total, note="")
        try:
            yield _LiveBar(self._live, task, depth)
        finally:
            self._live.remove_task(task)


class _PlainStages:
    def __init__(self, console: Console, stages: Sequence[str], clock: Callable[[], float]) -> None:
        self._console = console
        self._stages = stages
        self._clock = clock

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Bar]:
        label = _numbered(self._stages, name)
        started = self._clock()
        self._write(label)
        yield _PlainBar(self._write, self._clock, label, total)
        self._write(f"{label}: done in {self._clock() - started:.1f} s")

    def _write(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)


class _PlainBar:
    def __init__(self, write: Callable[[str], None], clock: Callable[[], float], label: str, total: int | None) -> None:
        self._write = write
        self._clock = clock
        self._label = label
        self._total = total
        self._done = 0
        self._last_line_s = clock()

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self._done = done
        self._total = total if total is not None else self._total
        if self._clock() - self._last_line_s >= PLAIN_LINE_EVERY_S:
            self._last_line_s = self._clock()
            count = str(done) if self._total is None else f"{done}/{self._total}"
            self._write(f"{self._label}: {count} {note}".rstrip())

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.update(self._done + steps, note=note)

    @contextmanager
    def step(self, name: str, total: int | None = None) -> Iterator[Bar]:
        yield _PlainBar(self._write, self._clock, f"{self._label}, {name}", total)
