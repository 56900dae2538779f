"""A worker that was paused and taken for dead writes nothing when it comes back, and the search goes on without its answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from casspec.storage.database.connection import open_database
from casspec.storage.errors import LeaseLost
from casspec.storage.leases import Lease, Leases
from casspec.storage.repository import Repository
from casspec.storage.schema import DrafterCandidate, Precision, SkipSet
from casspec.tuner.external_databases import external_databases
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.stage import StoredSearch
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from casspec.tuner.search.workers import leases as trial_leases
from casspec.tuner.search.workers.leases import GRACE_S, TrialLeases
from casspec.tuner.search.workers.optuna_storage import open_study
from tests.storage import samples
from tests.tuner.synthetic import N_LAYERS, SETTINGS, SyntheticEvaluator

TRIALS = 12
PLAN = PlanSpec(SkipSet(attention=(1,)))


class Store:
    """A database whose time stands still until somebody moves it, and one search in it."""

    def __init__(self, directory: Path) -> None:
        path = str(directory / "casspec.db")
        self.database = open_database(path)
        self.repository = Repository(self.database)
        calibration = self.repository.calibration(samples.model(), samples.device(), "float32", SETTINGS)
        self.calibration_id = calibration.calibration_id
        self.url = external_databases(path).study_url
        self.seconds = 0.0
        self.leases = Leases(self.database, lambda: self.seconds)
        self.lost: list[LeaseLost] = []

    def shared(self) -> StoredSearch:
        shared = StoredSearch(self.repository, self.calibration_id)
        shared.leases = self.leases
        return shared

    def worker(self) -> TrialLeases:
        return TrialLeases(open_study(self.url, self.calibration_id), N_LAYERS, (Precision.TARGET,), self.leases)

    def search(self, evaluator: SyntheticEvaluator) -> DrafterSearch:
        shared, budget = self.shared(), SearchBudget(TRIALS, seconds=1e9, patience=10**6)

        def save(candidate: DrafterCandidate, lease: Lease) -> DrafterCandidate | None:
            try:
                return shared.save(candidate, lease)
            except LeaseLost as error:
                self.lost.append(error)
                raise

        return DrafterSearch(
            evaluator, N_LAYERS, budget, [], save, self.url, self.calibration_id, sampler="tpe", shared=shared
        )

    def stored(self) -> dict[str, str]:
        """Source by plan."""
        found = self.repository.candidates(self.calibration_id)
        return {PlanSpec.of(candidate).name: candidate.source for candidate in found}

    def states(self) -> list[str]:
        return sorted(trial.state.name for trial in open_study(self.url, self.calibration_id).trials)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.database.close()


def test_what_was_taken_over_cannot_be_saved_by_who_had_it_before(store: Store) -> None:
    paused, heir, shared = store.worker(), store.worker(), store.shared()
    late = paused.take(PLAN, "uniform")
    heir.follow({})
    assert heir.held == {PLAN}
    store.seconds += GRACE_S + 1
    heir.follow({})
    assert heir.lost() == [(PLAN, "uniform")]
    fresh = SyntheticEvaluator().evaluate(PLAN, "uniform")
    with pytest.raises(LeaseLost):  # nobody has it yet, but it is free to be taken
        shared.save(fresh, late.fence)
    lease = heir.take(PLAN, "prefix")
    assert lease.fence is not None
    assert late.fence is not None
    assert lease.fence.fencing == late.fence.fencing + 1
    with pytest.raises(LeaseLost):
        shared.save(fresh, late.fence)
    assert store.stored() == {}
    assert shared.save(SyntheticEvaluator().evaluate(PLAN, "prefix"), lease.fence) is not None
    candidates = {PlanSpec.of(candidate): candidate for candidate in shared.candidates()}
    paused.follow(candidates)
    heir.follow(candidates)
    assert (store.stored(), store.states()) == ({PLAN.name: "prefix"}, ["COMPLETE", "FAIL"])
    assert not store.leases.is_current(lease.fence)


@pytest.mark.parametrize("saves_first", ["the heir", "nobody"])
def test_a_search_goes_on_when_a_plan_was_taken_over_during_a_pause(store: Store, saves_first: str) -> None:
    heir = store.worker()

    class Paused(SyntheticEvaluator):
        """Its third evaluation outlasts its lease, and another worker takes the plan over."""

        def evaluate(self, spec: PlanSpec, *arguments: Any, **options: Any) -> DrafterCandidate:
            found = super().evaluate(spec, *arguments, **options)
            if len(self.evaluated) == 3:
                store.seconds += GRACE_S + 1
                heir.follow({PlanSpec.of(one): one for one in store.repository.candidates(store.calibration_id)})
                lease = heir.take(spec, "the heir")
                if saves_first == "the heir":
                    store.shared().save(found.model_copy(update={"source": "the heir"}), lease.fence)
                else:
                    heir.leave()
            return found

    evaluator = Paused()
    store.search(evaluator).run()
    (lost,) = store.lost
    assert "\n" not in str(lost)
    stored, third = store.stored(), evaluator.evaluated[2].name
    assert len(stored) == TRIALS
    assert stored[third] == "the heir"  # what is tried again keeps its source
    names = [spec.name for spec in evaluator.evaluated]
    assert len(names) == len(set(names)) + (saves_first == "nobody")  # given up by the heir, it is evaluated once more
    assert store.states() == ["COMPLETE"] * TRIALS + ["FAIL"] * (1 if saves_first == "the heir" else 2)


def test_a_beating_heart_keeps_a_long_evaluation(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_leases, "HEARTBEAT_S", 0.001)
    beaten, renew = threading.Event(), store.leases.renew

    def watched(lease: Lease) -> Lease:
        renewed = renew(lease)
        beaten.set()
        return renewed

    monkeypatch.setattr(store.leases, "renew", watched)
    worker, other = store.worker(), store.worker()
    lease = worker.take(PLAN, "uniform")
    with worker.alive(lease):
        for _ in range(3):
            store.seconds += GRACE_S - 1
            beaten.clear()
            assert beaten.wait(30), "the heart does not beat"
        other.follow({})
        assert other.held == {PLAN}


def test_a_heart_stops_when_its_lease_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_leases, "HEARTBEAT_S", 0.001)
    stopped, renew = threading.Event(), store.leases.renew
    calls: list[int] = []

    def watched(lease: Lease) -> Lease:
        calls.append(1)
        try:
            return renew(lease)
        except LeaseLost:
            stopped.set()
            raise

    monkeypatch.setattr(store.leases, "renew", watched)
    worker = store.worker()
    lease = worker.take(PLAN, "uniform")
    assert lease.fence is not None
    store.leases.release(lease.fence)
    with worker.alive(lease):
        assert stopped.wait(30)
    assert len(calls) == 1


def test_a_worker_that_dies_while_it_takes_a_plan_leaves_it_free(store: Store) -> None:
    dying, heir = store.worker(), store.worker()

    def interrupted(step: Callable[[], object]) -> None:
        with store.repository.alone():
            step()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted(lambda: dying.take(PLAN, "uniform"))
    with store.repository.alone():
        heir.follow({})
        assert (heir.held, heir.lost()) == (set(), [(PLAN, "uniform")])
        assert heir.take(PLAN, "uniform").fence is not None
    assert store.states() == ["FAIL", "RUNNING"]
