"""The Pareto front of drafters: none on it is beaten by another in both acceptance and cost."""

from __future__ import annotations

from collections.abc import Iterable

from casspec.storage.schema import DrafterCandidate


def pareto_front(candidates: Iterable[DrafterCandidate]) -> list[DrafterCandidate]:
    """Candidates that no other one dominates, by rising cost; of equals the first."""
    front: list[DrafterCandidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.cost, -c.acceptance)):
        if not front or candidate.acceptance > front[-1].acceptance:
            front.append(candidate)
    return front


def best_within(candidates: Iterable[DrafterCandidate], cost: float) -> DrafterCandidate | None:
    """The most accepted that costs no more: a drafter of this cost must beat it to reach the front; None when nothing is as cheap."""
    affordable = (candidate for candidate in candidates if candidate.cost <= cost)
    return max(affordable, key=lambda candidate: candidate.acceptance, default=None)


def hypervolume(candidates: Iterable[DrafterCandidate], worst_cost: float = 1.0) -> float:
    """Area of (cost, acceptance) that the front dominates, as seen from acceptance 0 at `worst_cost`; exact.

    By default the reference point is a drafter that costs as much as the target and is never right.
    """
    front = [candidate for candidate in pareto_front(candidates) if candidate.cost < worst_cost]
    ends = [candidate.cost for candidate in front[1:]] + [worst_cost]
    return sum(one.acceptance * (end - one.cost) for one, end in zip(front, ends, strict=False))
