"""Online acceptance estimates: how likely is a candidate token with this evidence to be the target's token?

One cell a kind of evidence. A cell starts from a prior (the profile's counts, else a built-in curve) held as pseudo-counts, and
decayed counts of what verification showed move it. Only candidates under a visited node are trials: below a rejected node nothing
is known, and counting that as failure would bias every estimate downwards. All candidates under a visited node are trials, those
that were never verified too, because the target's token there is known: retrieval is scored in shadow for free.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from math import exp

import numpy as np

from casspec.storage.schema import AcceptanceCell, AcceptancePrior

PRIOR_STRENGTH = 24.0
"""Pseudo-trials a prior counts for, at most."""
DECAY = 0.995
"""Weight a cell's older trials keep when a new one arrives."""

# Retrieval evidence ---------------------------------------------------------------------------------------------------

MATCH_EDGES = (1, 2, 3, 4, 6, 9, 14)
"""Lower edges of the match-length buckets; below the first is "no match, row of the stored matrix"."""
GAP_EDGES = (-6.0, -4.0, -2.5, -1.5, -0.75, 0.0, 0.75, 1.5, 2.5, 4.0, 6.0)
"""Edges, in nats, of a candidate's perturbed score minus the best other candidate's."""
N_MATCH = len(MATCH_EDGES) + 1
N_GAP = len(GAP_EDGES) + 2
UNSCORED = N_GAP - 1
"""Gap bucket of a literal continuation that the recycled row does not list."""
LITERAL_DIFFERS, LITERAL_AGREES, LITERAL_NONE = 0, 1, 2
LITERAL_STATES = 3
"""The matched text continues with another token than the candidate, with this one, or nothing matched.

A retrieval cell is (match bucket * LITERAL_STATES + literal state) * N_GAP + gap bucket.
"""


def is_literal(cell: int) -> bool:
    """Whether a retrieval cell is of what followed the match in the text: prompt lookup's token. All others are recycled ones."""
    return cell // N_GAP % LITERAL_STATES == LITERAL_AGREES


def match_bucket(length: int) -> int:
    """0 without a match, then one more at each edge."""
    return bisect_right(MATCH_EDGES, length)


# Self-drafter evidence ------------------------------------------------------------------------------------------------

CONFIDENCE_EDGES = (-2.0, 0.0, 0.5, 1.0, 2.0, 3.0, 4.5, 6.0)
"""Edges, in nats, of the same gap taken in the self-drafter's own perturbed scores."""
N_CONFIDENCE = len(CONFIDENCE_EDGES) + 1


FIRST_CONFIDENCE = CONFIDENCE_EDGES.index(0.0) + 1
"""From this cell on they are of a self-drafter's best token, which no other scores above."""


def confidence_bucket(gap: float) -> int:
    return bisect_right(CONFIDENCE_EDGES, gap)


class AcceptanceTable:
    """Cells with running estimates, indexed by a small integer.

    Attributes:
        estimate: list[float], the probability each cell stands for now. estimates: the same as an array, for compiled functions.
    """

    def __init__(self, name: str, prior_means: list[float], prior: AcceptancePrior | None = None) -> None:
        self.name = name
        size = len(prior_means)
        self._start_trials = [PRIOR_STRENGTH / 4] * size
        self._start_accepted = [mean * PRIOR_STRENGTH / 4 for mean in prior_means]
        self.estimates = np.empty(size)
        if prior is not None:
            self._load(prior)
        self.reset()

    def reset(self) -> None:
        """Back to the prior."""
        self._trials = list(self._start_trials)
        self._accepted = list(self._start_accepted)
        self.estimate = [accepted / trials for accepted, trials in zip(self._accepted, self._trials, strict=True)]
        self.estimates[:] = self.estimate

    def update(self, cell: int, accepted: bool) -> None:
        """Counts one trial."""
        trials = self._trials[cell] * DECAY + 1.0
        hits = self._accepted[cell] * DECAY + accepted
        self._trials[cell], self._accepted[cell] = trials, hits
        self.estimate[cell] = self.estimates[cell] = hits / trials

    def _load(self, prior: AcceptancePrior) -> None:
        for index, cell in cells_of(self.name, prior, len(self._start_trials)):
            # The built-in curve fills in where few trials were counted; many are scaled down to stay movable.
            trials = self._start_trials[index] + cell.trials
            accepted = self._start_accepted[index] + cell.accepted
            scale = min(1.0, PRIOR_STRENGTH / trials)
            self._start_trials[index], self._start_accepted[index] = trials * scale, accepted * scale


class MergedTable(AcceptanceTable):
    """A table that tells cells apart by a group alone, one estimate for all cells of a group: for ablations.

    Args:
        groups: by cell, an index from 0 on.
    """

    def __init__(self, name: str, prior_means: list[float], prior: AcceptancePrior | None, groups: list[int]) -> None:
        self._groups = groups
        self._members: list[list[int]] = [[] for _ in range(max(groups) + 1)]
        for cell, group in enumerate(groups):
            self._members[group].append(cell)
        means = [sum(prior_means[cell] for cell in cells) / len(cells) for cells in self._members]
        merged = None
        if prior is not None:
            counter = CellCounter()
            for index, counted in cells_of(name, prior, len(groups)):
                counter.add(name, groups[index], counted.accepted, counted.trials)
            merged = AcceptancePrior(mode=prior.mode, cells=counter.cells())
        self._merged = AcceptanceTable(name, means, merged)
        super().__init__(name, prior_means)

    def reset(self) -> None:
        self._merged.reset()
        self.estimate = [self._merged.estimate[group] for group in self._groups]
        self.estimates[:] = self.estimate

    def update(self, cell: int, accepted: bool) -> None:
        group = self._groups[cell]
        self._merged.update(group, accepted)
        for member in self._members[group]:
            self.estimate[member] = self.estimates[member] = self._merged.estimate[group]


def cells_of(name: str, prior: AcceptancePrior, size: int) -> Iterator[tuple[int, AcceptanceCell]]:
    """(index, counts) of the cells of one table; what is no cell of it (another drafter's, another release's) is passed over."""
    for cell in prior.cells:
        table, _, number = cell.key.rpartition(":")
        if table == name and number.isdecimal() and int(number) < size:
            yield int(number), cell


class CellCounter:
    """Undecayed counts by cell: how priors are made on the tuning half."""

    def __init__(self) -> None:
        self._counts: dict[str, list[float]] = {}

    def add(self, table: str, cell: int, accepted: float, trials: float = 1) -> None:
        counts = self._counts.setdefault(f"{table}:{cell}", [0, 0])
        counts[0] += accepted
        counts[1] += trials

    def cells(self) -> tuple[AcceptanceCell, ...]:
        """What was counted, ordered by key."""
        return tuple(
            AcceptanceCell(key=key, accepted=hits, trials=trials)
            for key, (hits, trials) in sorted(self._counts.items())
        )


class CountingTable(AcceptanceTable):
    """An acceptance table that also tells a counter."""

    def __init__(self, name: str, prior_means: list[float], counter: CellCounter) -> None:
        super().__init__(name, prior_means)
        self._counter = counter

    def update(self, cell: int, accepted: bool) -> None:
        super().update(cell, accepted)
        self._counter.add(self.name, cell, accepted)


def retrieval_prior_means() -> list[float]:
    """Built-in start values, for use without a profile.

    A logistic curve a literal state, fitted to the counts of the reference model's tuning half: rising with the gap, and with the
    length of the match where the candidate is what followed there.
    """
    means = []
    for match in range(N_MATCH):
        for literal in range(LITERAL_STATES):
            for gap in range(N_GAP):
                nats = 0.0 if gap == UNSCORED else (*GAP_EDGES, GAP_EDGES[-1] + 2)[gap] - 0.5
                if literal == LITERAL_AGREES:
                    logit = -2.25 + 0.43 * match if gap == UNSCORED else -1.45 + 0.57 * match + 0.2 * nats
                elif literal == LITERAL_DIFFERS:
                    logit = -2.2 - 0.07 * match + 0.31 * nats
                else:
                    logit = -2.4 + 0.16 * nats
                means.append(1 / (1 + exp(-logit)))
    return means


def self_prior_means(acceptance: float) -> list[float]:
    """Start values of a self-drafter's confidence cells around its offline `acceptance`."""
    odds = max(acceptance, 1e-3) / max(1 - acceptance, 1e-3)
    return [odds * lift / (1 + odds * lift) for lift in (0.02, 0.1, 0.3, 0.5, 0.8, 1.5, 3.0, 6.0, 12.0)]
