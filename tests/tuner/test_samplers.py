"""Every sampler proposes valid, distinct plans, honours its seed, learns from what it is told and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.model.target import bucket
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import DrafterCandidate, Precision, SkipSet
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.search.knapspec_plans import knapspec_sets, sub_layer_weights
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
from casspec.tuner.search.samplers.swift import RATIOS
from casspec.tuner.search.space import parameters_of, spec_of
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from tests.storage import samples
from tests.tuner.synthetic import N_LAYERS, SyntheticEvaluator
from tests.tuner.tiny import LAYERS, tiny_recordings, tiny_target

TRIALS = {"gp": 13}
OTHER_TRIALS = 24
"""The Gaussian process takes a second a proposal once ten plans are evaluated."""

INNER = range(1, N_LAYERS - 1)

each_sampler = pytest.mark.parametrize("sampler", SAMPLERS)


def trials_of(sampler: str) -> int:
    return TRIALS.get(sampler, OTHER_TRIALS)


def searched(
    sampler: str,
    seed: int = 0,
    known: list[DrafterCandidate] | None = None,
    url: str | None = None,
    trials: int | None = None,
    quantised: bool = False,
    sensitivity: bool = False,
    imported: tuple[tuple[str, SkipSet], ...] = (),
) -> list[DrafterCandidate]:
    return DrafterSearch(
        SyntheticEvaluator(quantised=quantised),
        N_LAYERS,
        SearchBudget(trials or trials_of(sampler), seconds=1e9, patience=10**6),
        known or [],
        lambda candidate: candidate,
        url,
        "s",
        seed,
        imported,
        sampler=sampler,
        sensitivity=sensitivity,
    ).run()


def plans(candidates: list[DrafterCandidate]) -> list[PlanSpec]:
    return [PlanSpec.of(candidate) for candidate in candidates]


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


def test_seeds_are_the_first_generation_of_nsga2() -> None:
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


def test_swift_leaves_out_five_shares_of_the_switches_in_turn() -> None:
    import optuna

    n_layers = 22
    space = search_space("swift", n_layers, (Precision.TARGET, Precision.INT8_DYNAMIC))
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=make_sampler("swift", 0, space), study_name="s"
    )
    proposed = []
    for _ in range(130):  # every 25th of each share comes from its Gaussian process
        trial = study.ask(space)
        proposed.append(spec_of(trial.params))
        study.tell(trial, [1 - 0.01 * sum(proposed[-1].skip.mlp) / n_layers, 0.5])
    assert [len(spec.skip) for spec in proposed[:5]] == [int(40 * ratio) for ratio in RATIOS]
    assert {spec.precision for spec in proposed} == {Precision.TARGET}
    assert len(set(proposed)) == len(proposed)


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


def test_a_sampler_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnsupportedOption, match=f"'annealing'.*{', '.join(SAMPLERS)}"):
        make_sampler("annealing", 0, search_space(DEFAULT_SAMPLER, 4, (Precision.TARGET,)))


def test_hypervolume_is_the_dominated_area() -> None:
    def candidate(acceptance: float, cost: float) -> DrafterCandidate:
        return samples.candidate(acceptance=acceptance).model_copy(update={"cost": cost})

    front = [candidate(0.8, 0.6), candidate(0.5, 0.2)]
    assert hypervolume(front) == pytest.approx(0.4 * 0.5 + 0.4 * 0.8)
    assert hypervolume([*front, candidate(0.7, 0.7), candidate(0.9, 1.2)]) == hypervolume(front)
    assert hypervolume([]) == 0


# --------------------------------------------------------------------------------------------- the dynamic programme


def test_the_programme_gives_a_set_for_every_saving_it_can_reach() -> None:
    target = tiny_target()
    meter = AcceptanceMeter(target, tiny_recordings(target, n=2, n_tokens=16))
    predictor = LatencyPredictor(builtin_latency(target))
    skips = knapspec_sets(target, meter, predictor, 64, [0, 1])
    attention, mlp = sub_layer_weights(predictor, LAYERS, 64)
    saved = [attention * len(skip.attention) + mlp * len(skip.mlp) for skip in skips]
    assert saved == sorted(set(saved))
    assert len(saved) >= 3
    assert all(0 < layer < LAYERS - 1 for skip in skips for layer in skip.attention + skip.mlp)


def test_the_programme_looks_at_states_a_scored_plan_has() -> None:
    from casspec.tuner.search.knapspec_plans import _Texts

    target, n_tokens = tiny_target(), 14
    assert bucket(n_tokens) > n_tokens  # forwards hold rows that are no tokens
    meter = AcceptanceMeter(target, tiny_recordings(target, n=2, n_tokens=n_tokens))
    spec = PlanSpec(SkipSet(attention=(2,), mlp=(1, 3)))
    with torch.inference_mode():
        texts = _Texts(target, meter, [0, 1])
        states = torch.stack([texts.trajectory()[0]] * 2)
        for sub_layer in range(2 * LAYERS):
            layer, is_mlp = divmod(sub_layer, 2)
            if layer not in (spec.skip.mlp if is_mlp else spec.skip.attention):
                states = texts.run(sub_layer, states)
        expected = []
        for index in (0, 1):
            cache, forwards = meter.first_token_inputs(index)
            expected += [target.hidden(inputs, cache, spec.plan(LAYERS))[:n_tokens] for inputs in forwards]
    torch.testing.assert_close(target.normalised(states[1]), torch.cat(expected))
