"""Samplers think over a copy of the search: nobody waits for them, and each plan is told them once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from casspec.storage.schema import DrafterCandidate, Precision, SkipSet
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.samplers.by_name import SAMPLERS
from casspec.tuner.search.samplers.proposals import Proposer
from casspec.tuner.search.space import spec_of
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from tests.tuner.synthetic import N_LAYERS, SyntheticEvaluator

PRECISIONS = (Precision.TARGET,)


def evaluated(*specs: PlanSpec) -> dict[PlanSpec, DrafterCandidate]:
    return {spec: SyntheticEvaluator().evaluate(spec, "uniform") for spec in specs}


def single(layer: int) -> PlanSpec:
    return PlanSpec(SkipSet(attention=(layer,)))


def trials(proposer: Proposer, state: str) -> Counter[str]:
    return Counter(spec_of(trial.params).name for trial in proposer._study.trials if trial.state.name == state)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_plan_is_told_once_whoever_evaluated_it(sampler) -> None:
    proposer = Proposer(sampler, 0, N_LAYERS, PRECISIONS)
    known, held = evaluated(single(1)), {single(2)}
    own = spec_of(proposer.propose(known, held))
    assert trials(proposer, "COMPLETE") == {single(1).name: 1}
    assert single(2).name in trials(proposer, "RUNNING"), "what others are at is known to the sampler"
    known |= evaluated(own, single(2))
    for held in ({own, single(2)}, {own}, set()):  # nobody has looked yet whether they have ended
        proposer.propose(known, held)
    assert trials(proposer, "COMPLETE") == {spec.name: 1 for spec in known}


def test_a_proposal_that_nobody_took_and_a_plan_given_up_are_forgotten() -> None:
    proposer = Proposer("random", 0, N_LAYERS, PRECISIONS)
    first = spec_of(proposer.propose({}, {single(2)}))
    proposer.propose({}, set())
    assert trials(proposer, "FAIL") == {first.name: 1, single(2).name: 1}
    assert trials(proposer, "RUNNING").total() == 1


def test_nobody_waits_for_a_sampler(monkeypatch) -> None:
    class Turns:
        """The turns of one worker among others."""

        is_held = False
        leases = None

        def candidates(self) -> list[DrafterCandidate]:
            return found

        @contextmanager
        def alone(self) -> Iterator[None]:
            self.is_held = True
            yield
            self.is_held = False

        def close(self) -> None: ...

        def closed(self) -> bool:
            return False

    found: list[DrafterCandidate] = []
    shared, held = Turns(), list[bool]()
    propose = Proposer.propose

    def watched(self: Proposer, *arguments: Any) -> Any:
        held.append(shared.is_held)
        return propose(self, *arguments)

    def save(candidate: DrafterCandidate) -> DrafterCandidate:
        found.append(candidate)
        return candidate

    monkeypatch.setattr(Proposer, "propose", watched)
    budget = SearchBudget(trials=8, seconds=1e9, patience=100)
    DrafterSearch(
        SyntheticEvaluator(), N_LAYERS, budget, [], save, None, "s", sampler="random", sensitivity=False, shared=shared
    ).run()
    assert len(held) == len(found) == 8
    assert not any(held)
