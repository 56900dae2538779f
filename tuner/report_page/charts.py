"""Charts that only a page has. Built without pyplot: no window, no global state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from casspec.storage.schema import OVERALL, BenchReport, DrafterCandidate, Mode
from casspec.tuner.bench.figures import literal, speedup_figure
from casspec.tuner.bench.predicted_vs_measured import Compared
from casspec.tuner.report_page.svg import WIDTH_INCHES
from casspec.tuner.search.pareto import hypervolume, pareto_front

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROW_INCHES = 0.27
MARGIN_INCHES = 1.1
COLOURS = {"predicted": "tab:orange", "replayed": "tab:green", "measured": "tab:blue"}


def gap_figure(compared: Sequence[Compared]) -> Figure:
    """Predicted, replayed and measured speedup of dytc, a line a task; what joins them is the gap."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, MARGIN_INCHES + ROW_INCHES * len(compared)), layout="constrained")
    axes = figure.subplots()
    places = range(len(compared))
    for place, row in zip(places, compared, strict=True):
        promised = row.predicted if row.replayed is None else row.replayed
        if promised is not None and row.measured is not None:
            axes.plot((promised, row.measured), (place, place), color="tab:gray", linewidth=1.5, zorder=1)
    for what, color in COLOURS.items():
        known = [(getattr(row, what), place) for row, place in zip(compared, places, strict=True)]
        drawn = [(value, place) for value, place in known if value is not None]
        if drawn:
            axes.scatter([x for x, _ in drawn], [y for _, y in drawn], color=color, s=36, label=what, zorder=2)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(list(places), [literal(f"{row.mode}, {row.task}") for row in compared])
    axes.invert_yaxis()
    axes.margins(y=0.08)
    axes.set(xlabel="speedup over autoregressive decoding")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def history_figure(candidates: Sequence[DrafterCandidate]) -> Figure:
    """The search in order: what the front came to, and every trial by what its drafter gains, front members marked."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH_INCHES, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    trials = range(1, len(candidates) + 1)
    volumes = [hypervolume(candidates[:trial]) for trial in trials]
    above.step(trials, volumes, where="post", color="black", linewidth=1.2)
    above.set(ylabel="hypervolume")
    above.grid(alpha=0.3)
    for source in dict.fromkeys(_source(candidate) for candidate in candidates):
        some = [(i, c.acceptance) for i, c in zip(trials, candidates, strict=True) if _source(c) == source]
        below.scatter([i for i, _ in some], [a for _, a in some], s=16, alpha=0.8, label=source)
    front = {id(candidate) for candidate in pareto_front(candidates)}
    kept = [(i, c.acceptance) for i, c in zip(trials, candidates, strict=True) if id(c) in front]
    ring = {"s": 70, "facecolors": "none", "edgecolors": "black", "linewidths": 0.9, "label": "front"}
    below.scatter([i for i, _ in kept], [a for _, a in kept], **ring)
    below.set(xlabel="trial", ylabel="offline acceptance")
    below.grid(alpha=0.3)
    below.legend(fontsize="small", ncols=2)
    return figure


def overall_figure(report: BenchReport, mode: Mode) -> Figure:
    """Speedup of every method over all tasks."""
    rows = tuple(row for row in report.rows if row.task == OVERALL)
    figure = speedup_figure(report.model_copy(update={"rows": rows}), mode)
    for axes in figure.axes:
        axes.set(xlabel="speedup over autoregressive decoding")
    return figure


def _source(candidate: DrafterCandidate) -> str:
    return candidate.source.partition(":")[0]
