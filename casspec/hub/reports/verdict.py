"""Which of two profiles decodes faster, by a benchmark that gave both their turns text by text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from casspec.storage.schema import CASCADE, OVERALL, BenchReport, BenchRow, CascadeProfile
from casspec.tuner.bench.entries import AGAINST, BOTH_MODES, TUNED
from casspec.tuner.calibration.closing_bench import raced


@dataclass(frozen=True)
class Verdict:
    """Attributes:
    by_mode: times the old profile's speed that the new one has. noise: what plain decoding differs by from itself.
    """

    by_mode: dict[str, float]
    noise: float

    @property
    def speed(self) -> float:
        """Over all modes, the geometric mean."""
        return prod(self.by_mode.values()) ** (1.0 / len(self.by_mode))

    @property
    def says(self) -> str:
        """A line: "1.08 times as fast (sample 1.10, greedy 1.06; noise 0.4 %)"."""
        modes = ", ".join(f"{mode} {ratio:.2f}" for mode, ratio in self.by_mode.items())
        return f"{self.speed:.2f} times as fast ({modes}; noise {self.noise:.1%})"


def verdict(reports: Sequence[BenchReport], new: CascadeProfile, old: CascadeProfile) -> Verdict | None:
    """Of the newest report that raced both, on all its texts; None where there is none.

    Args:
        reports: of the new profile, the latest first.
    """
    for report in raced(list(reports), old):
        by_mode = {}
        for mode in BOTH_MODES:
            rows = [row for row in report.rows if row.mode == mode and row.task == OVERALL]
            ours, theirs = _served(rows, new.fastest(mode)), _row(rows, old.fastest(mode), AGAINST)
            if ours is not None and theirs is not None and theirs.speedup > 0.0:
                by_mode[str(mode)] = ours.speedup / theirs.speedup
        if by_mode:
            return Verdict(by_mode, report.noise)
    return None


def _served(rows: Sequence[BenchRow], fastest: str) -> BenchRow | None:
    """What a server decodes with; the cascade where that did not run."""
    return _row(rows, fastest, TUNED) or _row(rows, CASCADE, TUNED)


def _row(rows: Sequence[BenchRow], method: str, variant: str) -> BenchRow | None:
    return next((row for row in rows if (row.method, row.variant) == (method, variant)), None)
