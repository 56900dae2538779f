"""Every sampler proposes valid, distinct plans, honours its seed, learns from what it is told and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision, SkipSet
from casspec.tuner.search.pareto import hypervolume
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.samplers.by_name import (
    DEFAULT_SAMPLER,
    POPULATION,
    SAMPLERS,
    make_sampler,
    search_space,
    told_attributes,
)
from casspec.tuner.search.space import parameters_of, spec_of
from tests.tuner.search.searched import plans, searched, trials_of
from tests.tuner.synthetic import N_LAYERS, SyntheticEvaluator

INNER = range(1, N_LAYERS - 1)


each_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


@each_sampler
@pytest.mark.parametrize("quantised", [False, True])
def test_plans_are_valid_and_distinct(sampler, quantised) -> None:
    found = plans(searched(sampler, quantised=quantised))
    assert len(found) == len(set(found)) == trials_of(sampler)
    assert PlanSpec() not in found
    assert all(layer in INNER for spec in found for layer in spec.skip.attention + spec.skip.mlp)
    assert {spec.precision for spec in found} <= {Precision.TARGET} | ({Precision.INT8_DYNAMIC} if quantised else set())


@each_sampler
def test_a_seed_decides_what_is_proposed(sampler) -> None:
    assert plans(searched(sampler, seed=3)) == plans(searched(sampler, seed=3))
    assert plans(searched(sampler, seed=3)) != plans(searched(sampler, seed=4))


@each_sampler
def test_a_search_may_start_from_given_sets_alone(sampler) -> None:
    given = SkipSet(attention=(2,), mlp=(3,))
    found = searched(sampler, imported=(("mine", given),))
    assert (found[0].source, found[0].skip) == ("import:mine", given)
    assert {candidate.source for candidate in found[1:]} <= {sampler, "beside"}
    ranked = searched(sampler, trials=26, sensitivity=True)
    assert {"uniform", "sensitivity", "prefix", sampler} <= {candidate.source for candidate in ranked}


@each_sampler
def test_a_search_goes_on_where_it_stopped(sampler, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    first = searched(sampler, url=url, trials=9)
    found = searched(sampler, known=first, url=url)
    assert found[:9] == first
    assert len(set(plans(found))) == trials_of(sampler)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_those_that_learn_are_better_than_chance(sampler) -> None:
    def reached(name: str) -> float:
        return sum(hypervolume(searched(name, seed=seed, trials=60, sensitivity=True)) for seed in (0, 1000))

    assert reached(sampler) > reached("random")


def test_starting_plans_are_the_first_generation_of_nsga2() -> None:
    import optuna

    space = search_space("nsga2", N_LAYERS, (Precision.TARGET,))
    sampler = make_sampler("nsga2", 0, space)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    evaluator = SyntheticEvaluator()
    skips = [SkipSet(attention=a, mlp=m) for a in ((), (1,), (2,), (3,)) for m in ((1,), (2,), (3,), (4,), (1, 2))]
    assert len(skips) == POPULATION
    for spec in map(PlanSpec, skips):
        trial = optuna.trial.create_trial(
            params=parameters_of(spec, N_LAYERS, (Precision.TARGET,)),
            distributions=space,
            values=[evaluator.acceptance(spec), evaluator.cost(spec)],
            system_attrs=told_attributes("nsga2"),
        )
        study.add_trial(trial)
    study.ask(space)
    born = study.get_trials(deepcopy=False)[-1]
    assert sampler.get_trial_generation(study, born) == 1  # type: ignore[attr-defined]
    parents = sampler.get_parent_population(study, 1)  # type: ignore[attr-defined]
    assert {spec_of(trial.params).skip for trial in parents} == set(skips)


def test_a_sampler_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnsupportedOption, match=f"'annealing'.*{', '.join(SAMPLERS)}"):
        make_sampler("annealing", 0, search_space(DEFAULT_SAMPLER, 4, (Precision.TARGET,)))
