"""Charts of a benchmark. Built without pyplot: no window, no global state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from casspec.storage.schema import OVERALL, BenchReport, BenchRow, Mode
from casspec.tuner.bench.report import caption, label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_INCHES = 2.4
LABELS_INCHES = 2.2
BAR_INCHES = 0.2
MARGIN_INCHES = 1.4
COLOURS = {"published": "tab:blue", "tuned": "tab:orange", "peer": "tab:gray"}
ABLATION_COLOUR = "tab:green"


def literal(words: str) -> str:
    """Words of the user's, such as tasks and paths, as a chart shows them: matplotlib reads mathematics between two dollar signs."""
    return words.replace("$", r"\$")


def bench_figures(report: BenchReport) -> dict[str, Figure]:
    """Every chart of the report by its file name."""
    modes: dict[Mode, None] = dict.fromkeys(row.mode for row in report.rows)
    return {f"bench-speedup-{mode}.png": speedup_figure(report, mode) for mode in modes} | {
        f"bench-time-{mode}.png": time_figure(report, mode) for mode in modes
    }


def write_figures(report: BenchReport, directory: Path) -> list[Path]:
    """Writes every chart into `directory`, which is made when it is missing, and returns the files."""
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for name, figure in bench_figures(report).items():
        figure.savefig(directory / name, dpi=120)
        files.append(directory / name)
    return files


def speedup_figure(report: BenchReport, mode: Mode) -> Figure:
    """Speedup of every method, a panel a task; the line at 1 is autoregressive decoding."""
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row.mode == mode]
    tasks = list(dict.fromkeys(row.task for row in rows))
    methods = list(dict.fromkeys(label(row) for row in rows))
    size = (LABELS_INCHES + PANEL_INCHES * len(tasks), MARGIN_INCHES + BAR_INCHES * len(methods))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(tasks), sharex=True, sharey=True, squeeze=False)[0]
    for axes, task in zip(panels, tasks, strict=True):
        of_task = [row for row in rows if row.task == task]
        bars = axes.barh(
            [label(row) for row in of_task],
            [row.speedup for row in of_task],
            xerr=[row.speedup * row.spread for row in of_task],
            color=[COLOURS.get(row.variant, ABLATION_COLOUR) for row in of_task],
        )
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize="x-small")
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.set_title(literal(task), fontsize="medium")
    panels[0].invert_yaxis()
    panels[0].margins(x=0.15)
    figure.suptitle(f"speedup over autoregressive decoding, {mode}: {literal(caption(report, mode))}", fontsize="small")
    return figure


def time_figure(report: BenchReport, mode: Mode) -> Figure:
    """Where a token's time goes, over all tasks: forwards of drafters, forwards of the target, everything else."""
    from matplotlib.figure import Figure

    rows: list[BenchRow] = [row for row in report.rows if row.mode == mode and row.task == OVERALL]
    figure = Figure(figsize=(7.0, MARGIN_INCHES + BAR_INCHES * len(rows)), layout="constrained")
    axes = figure.subplots()
    labels, left = [label(row) for row in rows], [0.0] * len(rows)
    for part in ("draft", "verify", "overhead"):
        times_ms = [getattr(row, f"{part}_ms") / row.n_tokens for row in rows]
        axes.barh(labels, times_ms, left=left, label=part)
        left = [start + time_ms for start, time_ms in zip(left, times_ms, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel="milliseconds a token")
    figure.suptitle(f"{mode}: {literal(caption(report, mode))}", fontsize="small")
    axes.legend(fontsize="small")
    return figure
