"""Ratios of a stored grid between its lines: plain floats, no library."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import product
from math import exp, log

from casspec.storage.schema import LatencyTable


class RatioTable:
    """Interpolates one `LatencyTable`: logarithms of ratios, linearly in sub-layers and attended rows, over the logarithm of tokens."""

    def __init__(self, table: LatencyTable) -> None:
        self.batch = table.batch
        self._axes = (
            [float(count) for count in table.attention],
            [float(count) for count in table.mlp],
            [log(tokens) for tokens in table.tokens],
            [float(rows) for rows in table.attended],
        )
        self._logs = [log(ratio) for ratio in table.ratios]
        self._spreads = table.spreads

    def ratio(self, n_attention: int, n_mlp: int, tokens: int, attended: int) -> float:
        """Time over what the linear part says of a forward over `tokens` padded queries that attend to `attended` rows."""
        return exp(self._interpolated(self._logs, (n_attention, n_mlp, log(tokens), attended)))

    def spread(self, n_attention: int, n_mlp: int, tokens: int, attended: int) -> float:
        """Relative standard deviation of that ratio, 0 where none is stored."""
        if not self._spreads:
            return 0.0
        return self._interpolated(self._spreads, (n_attention, n_mlp, log(tokens), attended))

    def _interpolated(self, values: Sequence[float], place: tuple[float, ...]) -> float:
        ends = [_between(axis, at) for axis, at in zip(self._axes, place, strict=True)]
        total = 0.0
        for corner in product(*ends):
            weight, index = 1.0, 0
            for (line, share), axis in zip(corner, self._axes, strict=True):
                weight *= share
                index = index * len(axis) + line
            total += weight * values[index]
        return total


def _between(axis: Sequence[float], at: float) -> list[tuple[int, float]]:
    """The lines beside `at` with their weights; the last line alone beyond it."""
    if at <= axis[0]:
        return [(0, 1.0)]
    if at >= axis[-1]:
        return [(len(axis) - 1, 1.0)]
    above = bisect_right(axis, at)
    share = (at - axis[above - 1]) / (axis[above] - axis[above - 1])
    return [(above - 1, 1.0 - share), (above, share)] if share else [(above - 1, 1.0)]
