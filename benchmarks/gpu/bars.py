"""What a GPU is expected to reach, and whether it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.gpu.figures import PLAIN
from benchmarks.gpu.measured.decoding import CALIBRATED
from benchmarks.gpu.stages import Row
from casspec.storage.schema import CASCADE


@dataclass(frozen=True)
class Bar:
    """A figure of a method, and the limit it is held to."""

    what: str
    methods: tuple[str, ...]
    figure: str
    side: Literal["at least", "at most"]
    limit: float

    @property
    def holds(self) -> Callable[[float], bool]:
        return (lambda value: value >= self.limit) if self.side == "at least" else (lambda value: value <= self.limit)


DYTC = (CASCADE, CALIBRATED)
BARS = (
    Bar("plain decoding, share of the bandwidth bound", (PLAIN,), "of_bound", "at least", 0.85),
    Bar("dytc over plain decoding", DYTC, "over_plain", "at least", 2.0),
    Bar("dytc, share of a step outside forwards", DYTC, "overhead", "at most", 0.10),
)
RACES = ("decoding", "calibrated")


def held(races: Mapping[str, Sequence[Row]]) -> list[Row]:
    """The bars against the rows of the races, by graphs where there are some.

    Args:
        races: rows by stage.
    """
    rows = [(stage, row) for stage in RACES for row in races.get(stage, ())]
    ways = {row["forwards"] for _, row in rows}
    way = "graphs" if "graphs" in ways else "eager"
    found: list[Row] = []
    for bar in BARS:
        for stage, row in rows:
            value = row.get(bar.figure)
            if row["forwards"] != way or row["method"] not in bar.methods or value is None:
                continue
            found.append(
                {
                    "bar": bar.what,
                    "stage": stage,
                    "mode": row["mode"],
                    "method": row["method"],
                    "forwards": way,
                    "measured": value,
                    "limit": f"{bar.side} {bar.limit:g}",
                    "holds": "yes" if bar.holds(value) else "no",
                }
            )
    return found
