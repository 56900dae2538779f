"""Several workers on one stored search: nothing is evaluated or counted twice, whoever dies or joins."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from casspec.profiler.progress import silent
from casspec.storage import open_repository
from casspec.storage.errors import CalibrationNotFound, ProfileMismatch, StorageError, UnsupportedOption
from casspec.storage.schema import DrafterCandidate
from casspec.tuner.calibration.attempt import finished
from casspec.tuner.calibration.calibrate import calibrate as run_stages
from casspec.tuner.external_databases import external_databases
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.space import switches
from casspec.tuner.search.stage import SearchBasis, StoredSearch, joined, searches
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from tests.storage import samples
from tests.tuner.small_calibration import SETTINGS as SMALL
from tests.tuner.small_calibration import StageLog, begun, calibrate, small_target, tuned_by_nobody
from tests.tuner.synthetic import SETTINGS, SyntheticEvaluator
from tests.tuner.tiny import tiny_target

TRIALS = 40


def told_plans(url: str, name: str) -> Counter[str]:
    """Plans of finished trials; none may be open."""
    import optuna

    from casspec.tuner.search.space import spec_of

    trials = optuna.load_study(study_name=name, storage=url).trials
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "FAIL"}, "a trial was left open"
    return Counter(spec_of(trial.params).name for trial in trials if trial.state.name == "COMPLETE")


def test_when_one_of_two_workers_is_killed_the_other_does_all_that_is_left_once(storage: str) -> None:
    with open_repository(storage) as repository:
        calibration_id = repository.calibration(samples.model(), samples.device(), "float32", SETTINGS).calibration_id
    url = external_databases(storage).study_url
    command = [sys.executable, "-m", "tests.tuner.synthetic", storage, url, str(TRIALS)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    killed, survivor = workers
    assert killed.stdout is not None
    early = [killed.stdout.readline() for _ in range(6)]  # "ready" and what it evaluates
    killed.send_signal(signal.SIGKILL)
    rest, _ = killed.communicate()
    output, _ = survivor.communicate(timeout=200)
    assert (killed.returncode, survivor.returncode) == (-signal.SIGKILL, 0)

    by_killed = ["".join(early).split(), rest.split()]
    by_killed = [*by_killed[0], *by_killed[1]][1:]
    evaluated = Counter([*by_killed, *output.split()[1:]])
    assert min(len(by_killed), len(output.split())) > 1, "only one of them worked"
    again = [name for name, times in evaluated.items() if times > 1]
    assert again in ([], by_killed[-1:]), "only what the killed worker was at may be evaluated again"
    with open_repository(storage) as repository:
        stored = Counter(PlanSpec.of(candidate).name for candidate in repository.candidates(calibration_id))
    assert stored == told_plans(url, calibration_id)
    assert len(stored) == stored.total() == TRIALS


def test_a_worker_that_wakes_up_after_the_search_adds_nothing_to_it(tmp_path: Path) -> None:
    database = str(tmp_path / "casspec.db")
    with open_repository(database) as repository:
        calibration_id = repository.calibration(samples.model(), samples.device(), "float32", SETTINGS).calibration_id
        shared = StoredSearch(repository, calibration_id)

        class Asleep(SyntheticEvaluator):
            def evaluate(self, spec: PlanSpec, *arguments: Any, **options: Any) -> DrafterCandidate:
                if len(self.evaluated) == 2:
                    shared.close()
                    shared.end(2)
                return super().evaluate(spec, *arguments, **options)

        url, budget = external_databases(database).study_url, SearchBudget(TRIALS, seconds=1e9, patience=10**6)
        evaluator = Asleep()
        found = DrafterSearch(evaluator, 6, budget, [], shared.save, url, calibration_id, shared=shared).run()
        assert len(evaluator.evaluated) == 3
        assert repository.candidates(calibration_id) == found == found[:2]


def test_a_joined_worker_does_what_is_left_of_a_search(tmp_path, with_mirror) -> None:
    database = str(with_mirror(tmp_path / "casspec.db"))

    class Interrupted(BaseException):
        pass

    def interrupt(where: tuple[str, int]) -> Callable[[str, int], None]:
        def at(stage: str, done: int) -> None:
            if (stage, done) == where:
                raise Interrupted

        return at

    def join(target: Callable[[], object] = small_target, **other: object) -> tuple[int, int] | None:
        with open_repository(database) as repository:
            calibration = replace(repository.stored_calibration("latest"), **other)
            return joined(repository, external_databases(database), calibration, target, silent)  # type: ignore

    with (
        open_repository(database) as repository,
        pytest.raises(CalibrationNotFound, match="no calibration is under way"),
    ):
        repository.stored_calibration("latest")
    with pytest.raises(Interrupted):
        calibrate(database, StageLog(interrupt(("record", 4))))
    with pytest.raises(UnsupportedOption, match="searches no drafters"):
        join(settings={})
    with pytest.raises(StorageError, match="has not come to its search yet"):
        join()
    with pytest.raises(Interrupted):
        calibrate(database, StageLog(interrupt(("search", 5))))
    with pytest.raises(ProfileMismatch, match="is another model: name the one that is calibrated with --model"):
        join(lambda: tiny_target(seed=1))
    assert join() == (5, SMALL.search.trials)

    log: list[tuple[str, int]] = []
    calibrate(database, StageLog(lambda stage, done: log.append((stage, done))))
    assert "search" not in [stage for stage, _ in log]
    with open_repository(database) as repository:
        calibration_id, _ = repository.calibration_of("latest")
        calibration = repository.stored_calibration(calibration_id[:8])
        assert calibration.calibration_id == calibration_id
        assert joined(repository, external_databases(database), calibration, small_target, silent) is None
        stored = Counter(PlanSpec.of(candidate).name for candidate in repository.candidates(calibration_id))
        assert StoredSearch(repository, calibration_id).ended()
    assert stored == told_plans(external_databases(database).study_url, calibration_id)
    assert stored.total() == SMALL.search.trials


def test_a_search_begins_once_with_what_it_began_with(tmp_path: Path) -> None:
    basis = SearchBasis(recordings=(("p", "greedy"),), context_tokens=64, precisions=())
    later = basis.model_copy(update={"context_tokens": 128})
    with open_repository(str(tmp_path / "casspec.db")) as repository:
        calibration_id = repository.calibration(samples.model(), samples.device(), "float32", SETTINGS).calibration_id
        shared, other = (StoredSearch(repository, calibration_id) for _ in range(2))
        assert shared.basis() is None
        repository.save_candidate(calibration_id, samples.candidate())
        assert shared.begin(basis) == other.begin(later) == other.basis() == basis
        repository.save_candidate(calibration_id, samples.candidate((1,)))
        assert other.taken_over() == 1, "what was there before it began"
        assert len(other.candidates()) == 2
        assert (other.closed(), other.ended()) == (False, False)


def test_what_a_search_may_take_is_decided_once_for_all_who_resume_or_join_it(tmp_path: Path, with_mirror) -> None:
    database = str(with_mirror(tmp_path / "casspec.db"))
    settings, told = SMALL.changed({"search": {"trials": "auto", "seconds": "auto"}}), list[str]()

    class Interrupted(BaseException):
        pass

    def interrupt(stage: str, done: int) -> None:
        if (stage, done) == ("search", 3):
            raise Interrupted

    def run(log: StageLog) -> str:
        with open_repository(database) as repository:
            context = begun(repository, database, settings)
            run_stages(context, log, tune=tuned_by_nobody, tell=told.append)
            return context.calibration_id

    with pytest.raises(Interrupted):
        run(StageLog(interrupt))
    with open_repository(database) as repository:
        first = StoredSearch(repository, repository.stored_calibration("latest").calibration_id)
        decided = first.plan()
        assert decided is not None
        assert first.allow(decided.model_copy(update={"trials": 1})) == decided
    calibration_id = run(StageLog())
    assert told == [decided.told()] * 2
    with open_repository(database) as repository:
        candidates = repository.candidates(calibration_id)
        found = finished(repository, small_target(), settings)
    assert found is not None
    assert found[0] == calibration_id, "the settings say auto, whatever that came to"
    assert (
        sum(one.source == "sensitivity" for one in candidates)
        == decided.n_singles
        == len(switches(small_target().n_layers))
    )


def test_only_a_calibration_that_searches_can_be_joined() -> None:
    assert searches(SMALL.model_dump())
    assert not searches({"purpose": "latencies alone"})
    assert not searches(SMALL.model_dump() | {"tune": {"methods": ["suffix"]}})
