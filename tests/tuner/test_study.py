from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.storage import open_repository
from casspec.storage.schema import DrafterCandidate, Precision, SkipSet
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.search.pareto import acceptance_to_beat, pareto_front
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.space import parameters_of, skip_of, spec_of, switches, switches_of
from casspec.tuner.search.starting_plans import QUANTISED_PREFIXES, leave_one_out, prefix_sweep, uniform
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from casspec.tuner.search.trial import FEWEST_RACED, CandidateEvaluator
from casspec.tuner.search.workers.leases import TrialLeases
from tests.storage import samples
from tests.tuner.synthetic import N_LAYERS, SETTINGS, SyntheticEvaluator
from tests.tuner.tiny import tiny_recordings, tiny_target

TRIALS = 34
SAMPLER = "tpe"
"""A quick one: proposals are not what is tested here."""

INT8 = Precision.INT8_DYNAMIC


class Search:
    """A synthetic search over a store that outlives it."""

    def __init__(self, directory: Path) -> None:
        self.url = f"sqlite:///{directory / 'study.db'}"
        self.stored: dict[PlanSpec, DrafterCandidate] = {}

    def save(self, candidate: DrafterCandidate) -> DrafterCandidate:
        return self.stored.setdefault(PlanSpec.of(candidate), candidate)

    def make(self, evaluator: SyntheticEvaluator, trials: int = TRIALS, **options: Any) -> DrafterSearch:
        budget = SearchBudget(
            trials=trials, seconds=options.pop("seconds", 1e9), patience=options.pop("patience", 1000)
        )
        known = list(self.stored.values())
        options = {"sampler": SAMPLER} | options
        return DrafterSearch(evaluator, N_LAYERS, budget, known, self.save, self.url, "s", **options)


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(tmp_path)


def assert_told_once(url: str, name: str, plans: Iterable[PlanSpec]) -> None:
    """The study holds one finished trial a plan, no more, and none left open."""
    import optuna

    study = optuna.load_study(study_name=name, storage=url)
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "FAIL"}, "a trial was left open"
    completed = [spec_of(trial.params) for trial in study.trials if trial.state.name == "COMPLETE"]
    assert sorted(completed, key=repr) == sorted(plans, key=repr)


# --------------------------------------------------------------------------------------------------------------- space


def test_first_and_last_layer_have_no_switch() -> None:
    assert switches(4) == ("attention.1", "mlp.1", "attention.2", "mlp.2")
    assert switches(2) == ()
    imported = SkipSet(attention=(0, 1, 3), mlp=(2, 3))
    assert skip_of(switches_of(imported, 4)) == SkipSet(attention=(1,), mlp=(2,))


@pytest.mark.parametrize("precisions", [(Precision.TARGET,), (Precision.TARGET, INT8)])
def test_a_plan_and_its_parameters_are_one(precisions) -> None:
    for spec in (
        PlanSpec(),
        PlanSpec(SkipSet(attention=(1,), mlp=(1, 2))),
        PlanSpec(SkipSet(mlp=(2,)), precisions[-1]),
    ):
        parameters = parameters_of(spec, 4, precisions)
        assert spec_of(parameters) == spec
        assert len(parameters) == 4 + len(precisions) - 1


def test_names_say_what_a_plan_is_and_tell_plans_apart() -> None:
    skip = SkipSet(attention=(1, 2), mlp=(3,))
    specs = [PlanSpec(one, precision) for one in (SkipSet(), skip) for precision in Precision]
    names = [spec.name for spec in specs]
    assert names[:3] == ["target", "int8", "int4"]
    digits = skip.content_hash()[:4]
    assert names[3:] == [f"sparse-2a1m-{digits}", f"int8-2a1m-{digits}", f"int4-2a1m-{digits}"]
    assert [spec.is_target for spec in specs] == [True, False, False, False, False, False]
    plan = PlanSpec(skip).plan(4)
    assert (plan.name, plan.n_attention, plan.n_mlp) == (names[3], 2, 3)


def test_uniform_seeds_include_every_second_inner_layer() -> None:
    every_second = [skip for skip in uniform(12) if len(skip) == 10]
    assert [b - a for a, b in zip(every_second[0].mlp, every_second[0].mlp[1:], strict=False)] == [2, 2, 2, 2]
    assert all(0 < layer < 11 for skip in uniform(12) for layer in skip.attention)


def test_prefixes_grow_and_leave_something_to_run() -> None:
    ranking = leave_one_out(12)
    sizes = [len(skip) for skip in prefix_sweep(ranking)]
    assert sizes == sorted(set(sizes))
    assert sizes[0] == 2
    assert sizes[-1] == 15
    assert prefix_sweep(ranking[:1]) == []


# --------------------------------------------------------------------------------------------------------------- front


def candidate(acceptance: float, cost: float) -> DrafterCandidate:
    return samples.candidate(acceptance=acceptance).model_copy(update={"cost": cost})


def test_front_holds_exactly_the_candidates_nothing_dominates() -> None:
    generator = random.Random(1)
    candidates = [candidate(generator.random(), generator.choice([0.2, 0.4, 0.6, 0.8])) for _ in range(60)]
    front = pareto_front(candidates)
    for one in candidates:
        dominated = any(
            other.acceptance >= one.acceptance
            and other.cost <= one.cost
            and (other.acceptance, other.cost) != (one.acceptance, one.cost)
            for other in candidates
        )
        assert (one in front) is not dominated
    assert acceptance_to_beat(candidates, 0.1) == 0
    assert acceptance_to_beat(front, 1.0) == front[-1].acceptance


# -------------------------------------------------------------------------------------------------------------- search


def test_seeds_come_in_order_of_their_worth(search) -> None:
    evaluator = SyntheticEvaluator()
    found = search.make(evaluator, imported=[("mine", SkipSet(attention=(4,), mlp=(4,)))]).run()
    sources = list(dict.fromkeys(candidate.source for candidate in found))
    assert sources[:5] == ["uniform", "import:mine", "sensitivity", "prefix", SAMPLER]
    first_prefix = next(candidate for candidate in found if candidate.source == "prefix")
    # loss over time saved: mlp 4 .10/.1, mlp 3 .12/.1, attention 1 .03/.05, attention 2 .06/.05 ...
    assert first_prefix.skip == SkipSet(attention=(1,), mlp=(4,))
    assert len(found) == TRIALS == len(set(evaluator.evaluated))


def test_precisions_are_tried_alone_first_and_with_the_best_prefix_sets_last(search) -> None:
    evaluator = SyntheticEvaluator(quantised=True)
    found = search.make(evaluator).run()
    assert evaluator.evaluated[0] == PlanSpec(precision=INT8)
    n_seeds = next(i for i, candidate in enumerate(found) if candidate.source in (SAMPLER, "beside"))
    n_plain = n_seeds - QUANTISED_PREFIXES
    plain, quantised, sampled = found[1:n_plain], found[n_plain:n_seeds], found[n_seeds:]
    assert {candidate.quantization.precision for candidate in plain} == {Precision.TARGET}
    assert {candidate.quantization.precision for candidate in quantised} == {INT8}
    assert {candidate.quantization.precision for candidate in sampled} == {Precision.TARGET, INT8}
    assert len(found) == TRIALS == len(set(evaluator.evaluated))
    assert_told_once(search.url, "s", search.stored)

    def improvement(skip: SkipSet) -> float:
        """Of the best chain, if 8-bit linears lost no acceptance."""
        accepted, cost = evaluator.acceptance(PlanSpec(skip)), evaluator.cost(PlanSpec(skip, INT8))
        return max((1 + sum(accepted**i for i in range(1, k + 1))) / (k * cost + 1) for k in range(1, 9))

    chosen = {candidate.skip for candidate in quantised}
    left_out = {candidate.skip for candidate in plain if candidate.source == "prefix"} - chosen
    assert left_out
    assert min(map(improvement, chosen)) >= max(map(improvement, left_out))


@pytest.mark.parametrize("quantised", [False, True])
def test_the_target_itself_is_never_evaluated(tmp_path, quantised) -> None:
    known: dict[PlanSpec, DrafterCandidate] = {}
    nothing = [("ends", SkipSet(attention=(0, 2), mlp=(2,)))]  # inside the space it skips nothing
    evaluator = SyntheticEvaluator(quantised=quantised)
    DrafterSearch(
        evaluator,
        3,
        SearchBudget(trials=100, seconds=1e9, patience=10**6),
        [],
        lambda candidate: known.setdefault(PlanSpec.of(candidate), candidate),
        f"sqlite:///{tmp_path / 'study.db'}",
        "s",
        imported=nothing,
    ).run()
    # Two switches: four plans, eight with two precisions, one of them the target.
    assert len(known) == len(evaluator.evaluated) == (7 if quantised else 3)
    assert PlanSpec() not in known
    assert (PlanSpec(precision=INT8) in known) is quantised


def test_a_search_goes_on_when_another_precision_is_offered_or_none(search) -> None:
    search.make(SyntheticEvaluator(), trials=10).run()
    evaluator = SyntheticEvaluator(quantised=True)
    found = search.make(evaluator, trials=20).run()
    assert len(found) == 20
    assert evaluator.evaluated[0] == PlanSpec(precision=INT8)
    assert_told_once(search.url, "s", search.stored)

    plain = SyntheticEvaluator()
    skips = [spec for spec in search.stored if spec.precision is Precision.TARGET]
    found = search.make(plain, trials=len(skips) + 1).run()
    assert [PlanSpec.of(candidate) for candidate in found] == [*skips, *plain.evaluated]
    assert_told_once(search.url, "s", search.stored)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("stop_after", [1, 8, 20, 33])
def test_an_interrupted_search_resumes_without_evaluating_anything_twice(search, stop_after, quantised) -> None:
    evaluator = SyntheticEvaluator(quantised=quantised)
    evaluate = evaluator.evaluate

    def interrupted(*arguments, **options):
        if len(evaluator.evaluated) == stop_after:
            raise KeyboardInterrupt
        return evaluate(*arguments, **options)

    evaluator.evaluate = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        search.make(evaluator).run()
    assert len(search.stored) == stop_after
    evaluator.evaluate = evaluate  # type: ignore[method-assign]
    found = search.make(evaluator).run()
    assert len(found) == len(search.stored) == TRIALS
    assert len(evaluator.evaluated) == len(set(evaluator.evaluated)) == TRIALS
    assert_told_once(search.url, "s", search.stored)


@pytest.mark.parametrize("dies_before", ["ask", "tell", "take"])
def test_a_search_that_dies_beside_its_study_counts_no_trial_twice(search, monkeypatch, dies_before) -> None:
    import optuna

    dying_class = TrialLeases if dies_before == "take" else optuna.Study
    for after in (1, 3):
        calls = []
        original = getattr(dying_class, dies_before)

        def dying(self, *arguments, calls=calls, after=after, original=original, **options):
            calls.append(1)
            if len(calls) == after:
                raise KeyboardInterrupt
            return original(self, *arguments, **options)

        interrupted = search.make(SyntheticEvaluator(quantised=True))
        monkeypatch.setattr(dying_class, dies_before, dying)
        with pytest.raises(KeyboardInterrupt):
            interrupted.run()
        monkeypatch.undo()
    assert len(search.make(SyntheticEvaluator(quantised=True)).run()) == TRIALS
    assert_told_once(search.url, "s", search.stored)


def test_a_plan_proposed_again_is_told_once(tmp_path) -> None:
    known: dict[PlanSpec, DrafterCandidate] = {}
    url = f"sqlite:///{tmp_path / 'study.db'}"
    budget = SearchBudget(trials=100, seconds=1e9, patience=10**6)

    def save(candidate: DrafterCandidate) -> DrafterCandidate:
        return known.setdefault(PlanSpec.of(candidate), candidate)

    for _ in range(2):  # three layers have one inner layer: two switches, eight plans, one of them the target
        DrafterSearch(SyntheticEvaluator(quantised=True), 3, budget, known.values(), save, url, "s").run()
    assert len(known) == 7
    assert_told_once(url, "s", known)


def test_a_lost_study_is_rebuilt_from_the_candidates(search, tmp_path) -> None:
    search.make(SyntheticEvaluator(quantised=True)).run()
    (tmp_path / "study.db").unlink()
    evaluator = SyntheticEvaluator(quantised=True)
    search.make(evaluator, trials=TRIALS + 2).run()
    assert len(evaluator.evaluated) == 2
    assert_told_once(search.url, "s", search.stored)


def test_a_killed_search_resumes_with_exact_rows(tmp_path) -> None:
    database, url = str(tmp_path / "casspec.db"), f"sqlite:///{tmp_path / 'study.db'}"
    command = [sys.executable, "-m", "tests.tuner.synthetic", database, url, "40"]
    for seconds in (0.15, 0.6):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with open_repository(database) as repository:
        calibration = repository.calibration(samples.model(), samples.device(), "float32", SETTINGS)
        before = repository.candidates(calibration.calibration_id)
        assert 0 < len(before) < 40, "the kill came too early or too late to mean anything"
    subprocess.run(command, check=True, capture_output=True)
    with open_repository(database) as repository:
        after = repository.candidates(calibration.calibration_id)
    specs = [PlanSpec.of(candidate) for candidate in after]
    assert len(specs) == len(set(specs)) == 40
    assert len({candidate.skip for candidate in after}) < 40, "no skip set was tried at two precisions"
    assert after[: len(before)] == before
    assert_told_once(url, calibration.calibration_id, specs)


def test_patience_and_time_end_a_search(search, tmp_path) -> None:
    class Slow(SyntheticEvaluator):
        """Beside what it says it took, proposing takes next to nothing."""

        def evaluate(self, *arguments: Any, **options: Any) -> DrafterCandidate:
            return super().evaluate(*arguments, **options).model_copy(update={"seconds": 100.0})

    patient = search.make(SyntheticEvaluator(), trials=10**6, patience=6).run()
    assert len(patient) < 200
    in_time = Search(tmp_path / "other")
    (tmp_path / "other").mkdir()
    found = in_time.make(Slow(), trials=10**6, seconds=1450.0).run()
    assert len(found) == 15


def test_patience_lasts_over_interruptions_and_is_new_for_who_searches_on(search) -> None:
    def run(**options: Any) -> int:
        evaluator = SyntheticEvaluator()
        search.make(evaluator, trials=10**6, patience=6, **options).run()
        return len(evaluator.evaluated)

    assert run() >= 6
    assert run() == 0
    assert run(taken_over=len(search.stored)) >= 6


def test_a_model_without_inner_layers_has_nothing_to_search(tmp_path) -> None:
    budget = SearchBudget(trials=5, seconds=1e9, patience=5)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    assert DrafterSearch(SyntheticEvaluator(), 2, budget, [], lambda c: c, url, "s").run() == []


def test_a_model_without_inner_layers_is_still_tried_at_other_precisions(tmp_path) -> None:
    budget = SearchBudget(trials=5, seconds=1e9, patience=5)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    found = DrafterSearch(SyntheticEvaluator(quantised=True), 2, budget, [], lambda c: c, url, "s").run()
    assert [PlanSpec.of(candidate) for candidate in found] == [PlanSpec(precision=INT8)]


# ---------------------------------------------------------------------------------------------------------- evaluation


def test_a_hopeless_plan_is_left_after_a_few_recordings() -> None:
    target = tiny_target()
    recordings = tiny_recordings(target, n=8, n_tokens=16)
    latency = LatencyPredictor(builtin_latency(target))
    evaluator = CandidateEvaluator(target, AcceptanceMeter(target, recordings), latency, context_tokens=64)
    spec = PlanSpec(SkipSet(attention=(1, 2, 3), mlp=(1, 2, 3)))
    full = evaluator.evaluate(spec, "uniform")
    raced = evaluator.evaluate(spec, "uniform", to_beat=0.99)
    assert full.n_tokens == 8 * 16
    assert raced.n_tokens == FEWEST_RACED * 16
    assert raced.acceptance_by_depth == raced.trials_by_depth == ()
    assert len(full.acceptance_by_depth) == 8
    assert len(full.trials_by_depth) == 8
    assert sum(full.trials_by_depth) == 16, "every token of the one recording that is profiled, at one depth"
    assert full.acceptance == pytest.approx(full.acceptance_by_depth[0], abs=0.3)
    assert 0 < full.cost < 1
    assert evaluator.evaluate(PlanSpec(), "uniform").acceptance == 1
