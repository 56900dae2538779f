"""Acceptance of drafters, text by text.

Proposals in one text hang together: what is copied goes on being copied. So a text is one observation, whatever its length, and nothing
is assumed of what happens inside it; only that the next text is no worse on average than the profile says, within its margin.
"""

from __future__ import annotations

from collections.abc import Mapping

from casspec.runtime.decoding.generation import Statistics
from casspec.runtime.watch.drift import Drift
from casspec.runtime.watch.figures import Figure
from casspec.runtime.watch.range_watch import RangeWatch
from casspec.storage.schema import Mode
from casspec.storage.watched import WatchedDrafter


class AcceptanceWatch:
    """Of every drafter that a profile has a figure of.

    Args:
        figures: by decoding mode and drafter.
        tokens_between_false_alarms: of each end of each figure's range.
    """

    def __init__(self, figures: Mapping[tuple[Mode, str], Figure], tokens_between_false_alarms: float) -> None:
        self._figures = figures
        self._ranges = {
            key: RangeWatch(
                figure.acceptance - figure.margin, figure.acceptance + figure.margin, tokens_between_false_alarms
            )
            for key, figure in figures.items()
        }
        self._seen = {
            (mode, drafter): WatchedDrafter(mode=mode, drafter=drafter, calibrated=figure.acceptance)
            for (mode, drafter), figure in figures.items()
        }

    def text(self, mode: Mode, statistics: Statistics) -> None:
        """Hears of a text that is over."""
        for drafter, trials in statistics.trials_by.items():
            figure = self._figures.get((mode, drafter))
            if figure is None or not trials:
                continue
            right = statistics.right_by[drafter]
            weight = min(trials / figure.scatter.full_text, 1.0)
            self._ranges[mode, drafter].observe(right / trials, weight, statistics.emitted_tokens, trials)
            beside = (right - figure.acceptance * trials) ** 2
            one = WatchedDrafter(
                mode=mode,
                drafter=drafter,
                calibrated=figure.acceptance,
                texts=1,
                trials=trials,
                right=right,
                squares=beside,
            )
            self._seen[mode, drafter] = self._seen[mode, drafter].plus(one)

    @property
    def drifts(self) -> list[Drift]:
        """Of figures outside their range now."""
        found = []
        for (mode, drafter), watched in self._ranges.items():
            if watched.left is not None:
                _, now = watched.left
                found.append(Drift("acceptance", drafter, mode, now, self._figures[mode, drafter].acceptance))
        return found

    @property
    def seen(self) -> tuple[WatchedDrafter, ...]:
        """Sums of drafters that were seen."""
        return tuple(each for each in self._seen.values() if each.trials)
