"""Samplers think over a copy of the search: nobody waits for them, and each plan is told them once."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from casspec.storage.schema import DrafterCandidate, Precision, SkipSet
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.samplers.by_name import SAMPLERS
from casspec.tuner.search.samplers.proposals import Proposer
from casspec.tuner.search.space import parameters_of, spec_of, switches
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


def test_a_search_goes_on_with_another_sampler(tmp_path) -> None:
    url, found = f"sqlite:///{tmp_path / 'study.db'}", list[DrafterCandidate]()

    def search(sampler: str, trials: int) -> list[DrafterCandidate]:
        budget = SearchBudget(trials, seconds=1e9, patience=100)
        given = {"sampler": sampler, "sensitivity": False}
        return DrafterSearch(SyntheticEvaluator(), N_LAYERS, budget, found, lambda one: one, url, "s", **given).run()  # type: ignore[arg-type]

    for trials, sampler in enumerate(("tpe", "gp", "nsga2"), 1):
        found = search(sampler, 12 * trials)
    assert len({PlanSpec.of(candidate) for candidate in found}) == 36


def test_time_to_propose_is_part_of_the_budget(monkeypatch) -> None:
    propose = Proposer.propose

    def slowly(self: Proposer, *arguments: Any) -> Any:
        time.sleep(0.1)
        return propose(self, *arguments)

    monkeypatch.setattr(Proposer, "propose", slowly)
    budget = SearchBudget(trials=30, seconds=0.6, patience=100)
    search = DrafterSearch(
        SyntheticEvaluator(), N_LAYERS, budget, [], lambda one: one, None, "s", sampler="random", sensitivity=False
    )
    assert 0 < len(search.run()) < 6


@pytest.mark.parametrize("n_known", [12, 40])
def test_the_gaussian_process_proposes_what_optunas_own_ascent_does(n_known) -> None:
    from optuna.samplers import GPSampler

    chance = random.Random(n_known)
    names = switches(8)
    specs = {
        spec_of({name: chance.random() < share for name in names})
        for share in (chance.random() for _ in range(n_known))
    }
    worth = {name: 0.3 * chance.random() ** 3 for name in names}

    def found(spec: PlanSpec) -> DrafterCandidate:
        off = [name for name, skips in parameters_of(spec, 8, PRECISIONS).items() if skips]
        left = 1.0
        for name in off:
            left *= 1 - worth[name]
        return (
            SyntheticEvaluator()
            .evaluate(PlanSpec(), "uniform")
            .model_copy(update={"skip": spec.skip, "acceptance": left, "cost": 1 - len(off) / len(names)})
        )

    reached: dict[str, float] = {}
    proposer = Proposer("gp", 0, 8, PRECISIONS)
    ours = type(proposer._study.sampler)._optimize_acqf

    def both(self: Any, function: Any, best: Any) -> Any:
        point = ours(self, function, best)
        for name, one in (("ours", point), ("optuna", GPSampler._optimize_acqf(self, function, best))):
            reached[name] = float(function.eval_acqf_no_grad(one[None])[0])
        return point

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(proposer._study.sampler), "_optimize_acqf", both)
        proposer.propose({spec: found(spec) for spec in specs if not spec.is_target}, set())
    assert reached["ours"] == pytest.approx(reached["optuna"], abs=1e-6)
