"""The Gaussian process over switches."""

from __future__ import annotations

import random
from typing import Any

import pytest

from casspec.storage.schema import DrafterCandidate, Precision
from casspec.tuner.search.pareto import hypervolume
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.samplers.by_name import search_space
from casspec.tuner.search.samplers.proposals import Proposer
from casspec.tuner.search.space import parameters_of, spec_of, switches
from tests.tuner.search.searched import plans, searched
from tests.tuner.synthetic import SyntheticEvaluator

PRECISIONS = (Precision.TARGET,)


def test_the_gaussian_process_takes_switches_as_integers() -> None:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    space = search_space("gp", 4, (Precision.TARGET, Precision.INT8_DYNAMIC))
    kinds = {type(distribution) for name, distribution in space.items() if name != "precision"}
    assert kinds == {IntDistribution}
    assert isinstance(space["precision"], CategoricalDistribution)


def test_the_gaussian_process_leaves_long_searches_to_tpe(monkeypatch) -> None:
    from optuna.samplers import GPSampler

    from casspec.tuner.search.samplers import gp as gp_sampler

    asked = []
    monkeypatch.setattr(
        GPSampler, "sample_relative", lambda self, study, trial, space: asked.append(trial.number) or {}
    )
    monkeypatch.setattr(gp_sampler, "MOST_TRIALS", 12)
    found = searched("gp", trials=40)
    assert len(set(plans(found))) == 40
    assert 0 < len(asked) <= 14, "asked about trials past the twelfth, a proposal told before aside"
    assert hypervolume(found) > hypervolume(searched("random", trials=40))


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
