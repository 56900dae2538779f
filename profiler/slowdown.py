"""How slow the machine is at the moment, from a few points that are measured over and over.

A machine speeds up and slows down over seconds, by a quarter on a busy one, and what is measured together is disturbed together. So
every block of points visits the same anchors too. Their time over their first time is the slowdown of the block: raw times are kept as
they were, and compared at the median slowdown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from casspec.runtime.latency.features import has_head
from casspec.storage.schema import LatencyPoint, LatencySample, Measurement, Precision

ANCHORS = 8
LARGEST_ANCHOR_TOKENS = 32
"""Cheap enough to be measured with every block."""


class Anchors:
    """Points of known time, and the slowdown they tell. The first block that is measured has slowdown 1."""

    def __init__(self, points: Sequence[LatencyPoint], known: Iterable[LatencySample] = ()) -> None:
        """`known`: samples of an earlier run, anchors among them."""
        self.points = tuple(points)
        measured = {sample.point: steady_ms(sample) for sample in known}
        self._steady = {point: measured[point] for point in self.points if point in measured}

    def slowdown(self, times_ms: Mapping[LatencyPoint, float]) -> float:
        """Of a block in which points took `times_ms`; anchors seen for the first time are known from then on."""
        slowdowns = [times_ms[point] / steady for point, steady in self._steady.items() if point in times_ms]
        slowdown = median(slowdowns) if slowdowns else 1.0
        for point in self.points:
            if point in times_ms:
                self._steady.setdefault(point, times_ms[point] / slowdown)
        return slowdown


def anchors_of(points: Iterable[LatencyPoint]) -> list[LatencyPoint]:
    """ANCHORS whole forwards of the target's own precision and batch 1 among `points`, spread over their order."""
    cheap = [
        point
        for point in points
        if has_head(point)
        and point.precision is Precision.TARGET
        and point.batch == 1
        and point.n_tokens <= LARGEST_ANCHOR_TOKENS
    ]
    count = min(ANCHORS, len(cheap))
    return [cheap[index * len(cheap) // count] for index in range(count)]


def steady_ms(sample: LatencySample) -> float:
    """The median of a sample as it would be at slowdown 1."""
    return sample.measurement.median_ms / sample.slowdown


def at_median_slowdown(samples: Sequence[LatencySample]) -> list[LatencySample]:
    """The samples as if all had been measured at their median slowdown; to the last bit themselves when they are already."""
    if not samples:
        return []
    usual = median(sample.slowdown for sample in samples)
    return [_at_slowdown(sample, usual) for sample in samples]


def drift(samples: Iterable[LatencySample]) -> float:
    """How far the machine's slowdown went: the slowest block over the fastest one, minus 1."""
    slowdowns = [sample.slowdown for sample in samples]
    return max(slowdowns) / min(slowdowns) - 1.0 if slowdowns else 0.0


def _at_slowdown(sample: LatencySample, slowdown: float) -> LatencySample:
    values = tuple(value * (slowdown / sample.slowdown) for value in sample.measurement.values)
    return sample.model_copy(update={"measurement": Measurement(values=values), "slowdown": slowdown})
