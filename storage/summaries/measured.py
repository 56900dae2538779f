"""Speeds of a profile as benchmarks measured them."""

from __future__ import annotations

from collections.abc import Iterable

from casspec.storage.schema import CASCADE, OVERALL, BenchReport, Mode
from casspec.storage.summaries.documents import MeasuredSpeed


def measured_speeds(reports: Iterable[BenchReport]) -> dict[Mode, MeasuredSpeed]:
    """By decoding mode, from the newest report that has it.

    Args:
        reports: of one profile, the latest first; no more are read than are needed.
    """
    found: dict[Mode, MeasuredSpeed] = {}
    for report in reports:
        for row in report.rows:
            if (row.method, row.variant, row.task) == (CASCADE, "tuned", OVERALL) and row.mode not in found:
                found[row.mode] = MeasuredSpeed(
                    speedup=row.speedup,
                    spread=row.spread,
                    tokens_per_second=row.tokens_per_second,
                    measured_at=report.created_at,
                )
        if len(found) == len(MODES):
            break
    return found


MODES: tuple[Mode, ...] = ("greedy", "sample")
"""All that a benchmark may have."""
