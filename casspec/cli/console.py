"""What commands print: messages and progress on stderr, tables and data on stdout, so that a pipe carries data only.

`show_stages` shows bars on a terminal. Elsewhere (a log, CI) it writes a plain line now and then,
without control codes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from casspec.profiler.progress import Progress, Stages

PLAIN_LINE_EVERY_S = 10.0
WIDEST = 1000
"""Columns of a table that is printed to no terminal."""

messages = Console(stderr=True, highlight=False)
output = Console(highlight=False)


def say(text: str) -> None:
    """One message for the user, printed as it stands (square brackets are no markup)."""
    messages.print(text, markup=False, soft_wrap=True)


def print_table(table: Table, console: Console = output) -> None:
    """A terminal folds words that are too long for it; elsewhere nobody asked for 80 columns, so a table is as wide as it has to be."""
    for column in table.columns:
        column.overflow = "fold"
    if console.is_terminal:
        console.print(table)
        return
    needed = console.measure(table, options=console.options.update(max_width=WIDEST)).maximum
    Console(file=console.file, width=max(needed, console.width), highlight=False).print(table)


@contextmanager
def show_stages(
    stages: Sequence[str] = (), console: Console = messages, clock: Callable[[], float] = time.monotonic
) -> Iterator[Stages]:
    """A bar for each of several `stages` of a command, for instance profile, record, search, cascade, bench.

        with show_stages(("profile", "search")) as stages:
            with stages.stage("profile", total=120) as progress:
                progress(1, note="verification, 8 tokens")

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
    with RichProgress(*columns, console=console, redirect_stdout=False) as live:
        yield _LiveStages(live, stages)


def _numbered(stages: Sequence[str], name: str) -> str:
    return f"[{list(stages).index(name) + 1}/{len(stages)}] {name}" if name in stages else name


class _LiveStages:
    def __init__(self, live: RichProgress, stages: Sequence[str]) -> None:
        self._live = live
        self._stages = stages

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Progress]:
        bar = _LiveBar(self._live, self._live.add_task(_numbered(self._stages, name), total=total, note=""))
        yield bar
        bar.complete()


class _LiveBar:
    def __init__(self, live: RichProgress, task: TaskID) -> None:
        self._live = live
        self._task = task
        self._done = 0

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        self._done = done
        self._live.update(self._task, completed=done, total=total, note=note)

    def complete(self) -> None:
        task = next(task for task in self._live.tasks if task.id == self._task)
        total = int(task.total) if task.total is not None else max(self._done, 1)
        self(total, total)
        self._live.stop_task(self._task)


class _PlainStages:
    def __init__(self, console: Console, stages: Sequence[str], clock: Callable[[], float]) -> None:
        self._console = console
        self._stages = stages
        self._clock = clock

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Progress]:
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
        self._last_line_s = clock()

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        self._total = total if total is not None else self._total
        if self._clock() - self._last_line_s >= PLAIN_LINE_EVERY_S:
            self._last_line_s = self._clock()
            count = str(done) if self._total is None else f"{done}/{self._total}"
            self._write(f"{self._label}: {count} {note}".rstrip())
