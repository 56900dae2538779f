"""The plans a search starts from.

Where a search starts matters more than its sampler: sub-layers ranked by what leaving each one out costs, and the prefixes of that
ranking, are the best starting plans known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from casspec.storage.schema import DrafterCandidate, Precision, SkipSet
from casspec.tuner import closed_forms
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.space import skip_of, switches

UNIFORM_RATIOS = (0.2, 0.3, 0.4, 0.5, 0.6)
PREFIXES = 14
LONGEST_PREFIX = 0.75
"""Share of the switches; drafts of what remains past it agree with nothing."""

QUANTISED_PREFIXES = 4
"""Prefix sets tried at each further precision."""

LONGEST_CHAIN = 8
"""Draft lengths by which prefix sets are compared."""


def leave_one_out(n_layers: int) -> list[SkipSet]:
    """Each switch alone."""
    return [skip_of({name: True}) for name in switches(n_layers)]


def thinned_leave_one_out(n_layers: int, most: int) -> list[SkipSet]:
    """Evenly chosen ones of these where there are more than `most`, in an order that can be cut off: any beginning is spread evenly."""
    singles = leave_one_out(n_layers)
    step = max(-(-len(singles) // max(most, 1)), 1)
    # Thinned from both kinds in turn: an even step alone would drop one kind of sub-layer altogether.
    chosen = [i for i in range(len(singles)) if (i // 2 + i % 2) % step == 0]
    return [singles[i] for i in sorted(chosen, key=lambda i: (_bits_reversed(i // 2), i))]


def _bits_reversed(number: int) -> int:
    """Sorted by these, numbers halve the gaps between those before them (van der Corput 1935)."""
    return int(f"{number:032b}"[::-1], 2)


def ranking(singles: Iterable[DrafterCandidate]) -> list[SkipSet]:
    """Skip sets of evaluated single sub-layers, those first whose loss of acceptance buys the most time."""
    ranked = sorted(singles, key=lambda c: (1 - c.acceptance) / max(1 - c.cost, 1e-6))
    return [candidate.skip for candidate in ranked]


def uniform(n_layers: int) -> list[SkipSet]:
    """Evenly spread inner layers at several ratios of what can be skipped, whole layers: every second one and its like."""
    inner = range(1, n_layers - 1)
    sets = []
    for ratio in UNIFORM_RATIOS:
        count = round(ratio * len(inner))
        layers = tuple(inner[int((i + 0.5) * len(inner) / count)] for i in range(count))
        if layers:
            sets.append(SkipSet(attention=layers, mlp=layers))
    return list(dict.fromkeys(sets))


def prefix_sweep(ranking: Sequence[SkipSet]) -> list[SkipSet]:
    """Unions of the first 2, ... sets of a ranking, at most PREFIXES of them, evenly spread up to LONGEST_PREFIX."""
    longest = int(LONGEST_PREFIX * len(ranking))
    count = min(PREFIXES, longest - 1)
    lengths = dict.fromkeys(round(2 + i * (longest - 2) / max(count - 1, 1)) for i in range(count))
    return [union(ranking[:length]) for length in lengths]


def union(skips: Sequence[SkipSet]) -> SkipSet:
    return SkipSet(
        attention=tuple(layer for skip in skips for layer in skip.attention),
        mlp=tuple(layer for skip in skips for layer in skip.mlp),
    )


def quantised_prefixes(
    prefixes: Iterable[DrafterCandidate], precision: Precision, cost: Callable[[PlanSpec], float]
) -> list[PlanSpec]:
    """The few evaluated prefix sets that would draft fastest at a precision if it lost no acceptance.

    Args:
        cost: of a step of a plan over the target's, known before it is evaluated.
    """

    def promise(candidate: DrafterCandidate) -> float:
        alive = [candidate.acceptance**i for i in range(1, LONGEST_CHAIN + 1)]
        return closed_forms.best_chain(alive, cost(PlanSpec(candidate.skip, precision)), lambda n_tokens: 1.0)[1]

    best = sorted(prefixes, key=promise, reverse=True)[:QUANTISED_PREFIXES]
    return [PlanSpec(candidate.skip, precision) for candidate in best]
