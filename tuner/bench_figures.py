"""Charts of a benchmark. Built without pyplot: no window, no global state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casspec.storage.schema import BenchReport, BenchRow, Mode
from casspec.tuner.bench_rows import OVERALL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEIGHT_INCHES = 4.0


def speedup_figure(report: BenchReport, mode: Mode) -> Figure:
    """Speedup of every method, one group of bars a task; the line at 1 is autoregressive decoding."""
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row.mode == mode]
    tasks = list(dict.fromkeys(row.task for row in rows))
    methods = list(dict.fromkeys(_label(row) for row in rows))
    speedups = {(_label(row), row.task): row.speedup for row in rows}
    width = 0.8 / len(methods)
    figure = Figure(figsize=(max(6.0, 1.6 * len(tasks)), HEIGHT_INCHES), layout="constrained")
    axes = figure.subplots()
    for place, method in enumerate(methods):
        positions = [group + (place - (len(methods) - 1) / 2) * width for group in range(len(tasks))]
        axes.bar(positions, [speedups[method, task] for task in tasks], width=width, label=method)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(tasks)), tasks)
    axes.set(ylabel="speedup over autoregressive", title=mode)
    figure.legend(fontsize="x-small", loc="outside lower center", ncols=3)
    return figure


def time_figure(report: BenchReport, mode: Mode) -> Figure:
    """Where a token's time goes, over all tasks: forwards of drafters, forwards of the target, everything else."""
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row.mode == mode and row.task == OVERALL]
    figure = Figure(figsize=(7.0, 1.2 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    labels, left = [_label(row) for row in rows], [0.0] * len(rows)
    for part in ("draft", "verify", "overhead"):
        times_ms = [getattr(row, f"{part}_ms") / row.n_tokens for row in rows]
        axes.barh(labels, times_ms, left=left, label=part)
        left = [start + time_ms for start, time_ms in zip(left, times_ms, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds a token", title=mode)
    axes.legend(fontsize="small")
    return figure


def _label(row: BenchRow) -> str:
    return f"{row.method} (tuned)" if row.variant == "tuned" else row.method
