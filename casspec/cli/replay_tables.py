"""Tables of `casspec replay`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.table import Table

from casspec.storage.schema import OVERALL

if TYPE_CHECKING:
    from casspec.tuner.replay.reality import Gap
    from casspec.tuner.replay.run import Bounds, Predicted


def replay_table(rows: Sequence[Predicted], about: dict[str, Any]) -> Table:
    """A line a method and mode, a column a task: predicted speedup, and mean acceptance length in brackets."""
    batch = f", batch {about['batch']}" if about["batch"] > 1 else ""
    title = f"speedup and (mean acceptance length), {about['status']}{batch}: {about['model']}, {about['half']} half"
    tasks = _tasks(rows)
    table = _plain(title, ("mode", "method"), tasks)
    for (mode, method, variant), found in groupby(rows, key=lambda row: (row.mode, row.method, row.variant)):
        by_task = {row.task: f"{row.speedup:.2f}x ({row.mean_acceptance_length:.2f})" for row in found}
        table.add_row(mode, _label(method, variant), *(by_task.get(task, "") for task in tasks))
    return table


def bound_table(rows: Sequence[Bounds]) -> Table:
    """What limits dytc, by task."""
    tasks = _tasks(rows)
    table = _plain("bounds: the best of dytc's menu in hindsight, and for one who knows the text", ("mode", ""), tasks)
    for mode, group in groupby(rows, key=lambda row: row.mode):
        by_task = {row.task: row for row in group}
        found = [by_task.get(task) for task in tasks]
        table.add_row(mode, "menu bound", *(f"{row.menu:.2f}x" if row else "" for row in found))
        table.add_row(mode, "clairvoyant", *(f"{row.clairvoyant:.2f}x" if row else "" for row in found))
        if any(row and row.reached is not None for row in found):
            shares = [f"{row.reached:.0%}" if row and row.reached is not None else "" for row in found]
            table.add_row(mode, "dytc of the menu bound", *shares)
    return table


def gap_table(rows: Sequence[Gap], same_texts: Sequence[Gap], about: dict[str, Any]) -> Table:
    """Replay and reality over all tasks; where texts came out otherwise than recorded, over those that did not once more."""
    title = f"replay and reality on the same prompts (noise {about['benchmark_noise']:.1%})"
    figures = ("predicted", "measured", "gap", "accepted", "measured", "gap", "prompts")
    table = _plain(title, ("mode", "method"), figures)
    same = {(gap.method, gap.variant, gap.mode): gap for gap in same_texts if gap.task == OVERALL}
    for row in rows:
        if row.task == OVERALL:
            table.add_row(row.mode, _label(row.method, row.variant), *_gap_figures(row))
            alike = same.get((row.method, row.variant, row.mode))
            if alike and alike.n_prompts < row.n_prompts:
                table.add_row("", "  texts as recorded", *_gap_figures(alike))
    return table


def _gap_figures(row: Gap) -> tuple[str, ...]:
    return (
        f"{row.predicted_speedup:.2f}x",
        f"{row.measured_speedup:.2f}x",
        f"{row.speedup_gap:+.1%}",
        f"{row.predicted_length:.2f}",
        f"{row.measured_length:.2f}",
        f"{row.length_gap:+.1%}",
        str(row.n_prompts),
    )


def _tasks(rows: Sequence[Predicted] | Sequence[Bounds]) -> list[str]:
    """Every task, all together last."""
    tasks = list(dict.fromkeys(row.task for row in rows))
    return sorted(tasks, key=lambda task: task == OVERALL)


def _label(method: str, variant: str) -> str:
    return method if variant == "published" else f"{method} ({variant})"


def _plain(title: str, names: Sequence[str], figures: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in names:
        table.add_column(name, no_wrap=True)
    for figure in figures:
        table.add_column(figure, justify="right", overflow="fold")
    return table
