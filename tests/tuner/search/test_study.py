"""The search over plans: its order, what ends it, and that interruptions count nothing twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from casspec.storage import open_repository
from casspec.storage.schema import DrafterCandidate, Precision, SkipSet
from casspec.tuner.search import study
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.samplers.proposals import Proposer
from casspec.tuner.search.space import spec_of
from casspec.tuner.search.starting_plans import QUANTISED_PREFIXES
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from casspec.tuner.search.workers.leases import TrialLeases
from tests.storage import samples
from tests.tuner.synthetic import N_LAYERS, SETTINGS, SyntheticEvaluator

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


def test_starting_plans_come_in_order_of_their_worth(search) -> None:
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
    n_starting = next(i for i, candidate in enumerate(found) if candidate.source in (SAMPLER, "beside"))
    n_plain = n_starting - QUANTISED_PREFIXES
    plain, quantised, sampled = found[1:n_plain], found[n_plain:n_starting], found[n_starting:]
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
    for plans in (2, 12):  # are begun before the kill
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert all(process.stdout.readline() for _ in range(plans))
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


def test_starting_plans_are_evaluated_to_the_last_where_time_ends_only_what_follows(search) -> None:
    class Slow(SyntheticEvaluator):
        def evaluate(self, *arguments: Any, **options: Any) -> DrafterCandidate:
            return super().evaluate(*arguments, **options).model_copy(update={"seconds": 100.0})

    budget = SearchBudget(1000, seconds=1.0, patience=1000, finishes_starting_plans=True)
    evaluator = Slow(quantised=True)
    found = DrafterSearch(evaluator, N_LAYERS, budget, [], search.save, search.url, "s").run()
    assert {candidate.source for candidate in found} == {"precision", "uniform", "sensitivity", "prefix"}
    in_full = search.make(SyntheticEvaluator(quantised=True)).run()
    assert in_full[: len(found)] == found
    assert in_full[len(found)].source == SAMPLER


def test_sensitivities_alone_are_scored_on_as_many_recordings_as_the_budget_says(search) -> None:
    class Noting(SyntheticEvaluator):
        def evaluate(self, spec: PlanSpec, source: str, *arguments: Any, **options: Any) -> DrafterCandidate:
            asked.add((source, *arguments[1:]))
            return super().evaluate(spec, source, *arguments, **options)

    asked: set[tuple[Any, ...]] = set()
    budget = SearchBudget(TRIALS, seconds=1e9, patience=1000, sensitivity_recordings=3)
    DrafterSearch(Noting(), N_LAYERS, budget, [], search.save, search.url, "s", sampler=SAMPLER).run()
    assert {source for source, n in asked if n == 3} == {"sensitivity"}
    assert {source for source, n in asked if n is None} >= {"uniform", "prefix", SAMPLER}


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
    propose, now = Proposer.propose, [0.0]

    def slowly(self: Proposer, *arguments: Any) -> Any:
        now[0] += 0.25
        return propose(self, *arguments)

    monkeypatch.setattr(Proposer, "propose", slowly)
    monkeypatch.setattr(study, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    budget = SearchBudget(trials=30, seconds=0.6, patience=100)
    search = DrafterSearch(
        SyntheticEvaluator(), N_LAYERS, budget, [], lambda one: one, None, "s", sampler="random", sensitivity=False
    )
    assert len(search.run()) == 2, "the third proposal takes what is left"
