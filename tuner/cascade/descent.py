"""Coordinate descent over a method's parameters: one axis after the other, and only what clearly gains is kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Parameters = dict[str, Any]
Score = Callable[[Parameters], float]

LEAST_PARAMETER_GAIN = 1.01
"""Times better a change must be: less is chance on so few recordings."""


def descend(
    start: Parameters,
    axes: Mapping[str, Sequence[Any]],
    screen: Score,
    score: Score,
    seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Parameters:
    """The best parameters found; `start` itself where no change is LEAST_PARAMETER_GAIN times better.

    Args:
        start: must hold a value on every axis.
        axes: values to try, the axes that matter most first.
        screen: a cheap score on part of the material; what falls behind by it is scored no further.
        score: on all of the material: it alone decides what is kept.
        seconds: time after which nothing new is tried.
    """
    end = clock() + seconds
    best, screened, scored = start, screen(start), score(start)
    changed: str | None = None
    while True:
        for axis, values in axes.items():
            if axis == changed:
                return best  # a whole round since the last change
            found = best
            for value in values:
                if value == best[axis]:
                    continue
                if clock() >= end:
                    return found
                tried = best | {axis: value}
                if screen(tried) <= screened:
                    continue
                reached = score(tried)
                if reached > scored * (LEAST_PARAMETER_GAIN if found is best else 1.0):
                    found, scored = tried, reached
            if found is not best:
                best, screened, changed = found, screen(found), axis
        if changed is None:
            return best
