"""What `casspec profile` prints: the plan before, the latency model and the precisions after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from casspec.profiler.design import Design
    from casspec.profiler.precisions import PrecisionVerdict
    from casspec.profiler.report import Check, ErrorRow
    from casspec.runtime.model.target import TargetModel
    from casspec.storage.schema import CandidateErrors, LatencyModel

LARGEST_NOISE = 0.03
"""Test-retest difference above which figures of a run say little."""


def planned(plan: Design, target: TargetModel, budget_seconds: float) -> Iterator[RenderableType]:
    """How many points of which kind, and how long they may take."""
    from casspec.profiler.profile import fewest_seconds
    from casspec.profiler.refinement import REFINING_POINTS

    counts = Counter((point.subject, point.batch) for point in plan.points)
    for (subject, batch), count in counts.items():
        yield Text(f"{subject:>10}  {count:>4} points" + (f" at batch {batch}" if batch > 1 else ""))
    contexts = sorted({point.context_tokens for point in plan.fitted})
    yield Text(
        f"contexts {', '.join(map(str, contexts))}; {len(plan.held_out)} points are held out of the fit, "
        f"{REFINING_POINTS} more are placed where it is unsure"
    )
    least = fewest_seconds(plan, target)
    yield Text(f"about {max(least, budget_seconds):.0f} s (at the very least {least:.0f} s, by a rough guess)")


def error_rows(rows: Sequence[ErrorRow]) -> Table:
    table = _table("whole forwards", "n", "median error", "90th percentile", "spread")
    for row in rows:
        figures = (row.median_error, row.p90_error, row.median_spread)
        table.add_row(row.group, str(row.n_points), *(f"{figure:.1%}" for figure in figures))
    return table


def compared(candidates: Sequence[CandidateErrors], chosen: str) -> Table:
    """Median and 90th percentile of every candidate on what it has not seen."""
    table = _table("predicted by", "points left out", "plans", "contexts", "2x context")
    for entry in candidates:
        pairs = (entry.by_point, entry.by_plan, entry.by_context, entry.beyond)
        cells = [f"{pair[0]:.1%} / {pair[1]:.1%}" if pair else "" for pair in pairs]
        table.add_row(f"{entry.kind}{' *' if entry.kind == chosen else ''}", *cells)
    return table


def checked(checks: Sequence[Check]) -> Table:
    """Errors beside what they should be."""
    table = _table("error", "is", "at most", "")
    for check in checks:
        table.add_row(check.name, f"{check.value:.1%}", f"{check.limit:.1%}", "within" if check.holds else "above")
    return table


def noise(model: LatencyModel, drift: float) -> Iterator[Text]:
    """What the machine itself varied by, and what that means."""
    yield Text(
        f"* chosen; {model.n_points} points fitted; test-retest {model.test_retest:.1%}, slowdown of the machine varied by {drift:.0%}"
    )
    if model.test_retest > LARGEST_NOISE:
        yield Text(
            f"second measurements differ by more than {LARGEST_NOISE:.0%}: repeat with --force when the machine is idle"
        )


def precisions(verdicts: Sequence[PrecisionVerdict]) -> Iterator[RenderableType]:
    """What each quantised precision gives on this device and takes in memory, and why it is not offered where it is not."""
    from casspec.profiler.precisions import QUERY_TOKENS

    table = _table("query tokens", *map(str, QUERY_TOKENS), "memory", "offered")
    for verdict in verdicts:
        ratios = [f"{verdict.ratios[tokens]:.2f}" if tokens in verdict.ratios else "" for tokens in QUERY_TOKENS]
        memory = f"{verdict.extra_bytes / 2**20:,.0f} MiB" if verdict.extra_bytes else ""
        table.add_row(verdict.precision, *ratios, memory, "no" if verdict.reason else "yes")
    yield table
    yield Text("forwards of quantised plans: time over the target's own, by query tokens")
    for verdict in verdicts:
        if verdict.reason:
            yield Text(f"{verdict.precision} is not offered: {verdict.reason}")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(columns):
        table.add_column(name, justify="right" if place else "left", no_wrap=place == 0)
    return table
