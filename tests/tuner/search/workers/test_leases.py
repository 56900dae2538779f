"""Leases of trials: one worker a plan, and what a dead worker was at is tried again."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from casspec.storage import open_repository
from casspec.storage.database.tables import LeaseRow
from casspec.storage.schema import DrafterCandidate, Precision, SkipSet
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.workers.leases import MOST_ATTEMPTS, TrialLeases
from casspec.tuner.search.workers.optuna_storage import open_study
from tests.tuner.synthetic import SyntheticEvaluator

N_LAYERS = 4

PRECISIONS = (Precision.TARGET,)

PLAN = PlanSpec(SkipSet(attention=(1,)))


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[[], TrialLeases]]:
    """Makes a worker's view of one study."""
    with open_repository(str(tmp_path / "casspec.db")) as repository:

        def make() -> TrialLeases:
            study = open_study(f"sqlite:///{tmp_path / 'study.db'}", "s")
            return TrialLeases(study, N_LAYERS, PRECISIONS, repository.leases)

        yield make


def told(spec: PlanSpec) -> dict[PlanSpec, DrafterCandidate]:
    return {spec: SyntheticEvaluator().evaluate(spec, "uniform")}


def bury(worker: TrialLeases, elsewhere: str = "") -> None:
    """Renames the worker of all its leases to a process of this machine that has ended, or of another called alike."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    host = worker._worker.partition(":")[0] + elsewhere
    assert worker._leases is not None
    with worker._leases._database.writing() as session:
        theirs = update(LeaseRow).where(LeaseRow.owner == worker._worker)
        session.execute(theirs.values(owner=f"{host}:{process.pid}:0"))


def states(worker: TrialLeases) -> list[str]:
    return [trial.state.name for trial in worker._study.trials]


def test_what_another_worker_is_at_is_not_free_until_it_is_done(workers) -> None:
    one, other = workers(), workers()
    one.follow({})
    one.take(PLAN, "uniform")
    other.follow({})
    assert other.held == {PLAN}
    assert not other.is_free(PLAN)
    other.follow(told(PLAN))  # saved by one, who has not told the study
    one.follow(told(PLAN))
    assert one.held == other.held == set()
    assert states(one) == ["COMPLETE"]


def test_what_a_dead_worker_was_at_is_tried_again_a_few_times(workers) -> None:
    heir = workers()
    for attempt in range(MOST_ATTEMPTS):
        dying = workers()
        dying.follow({})
        assert dying.lost() == ([] if attempt == 0 else [(PLAN, "prefix")])
        dying.take(PLAN, "prefix")
        bury(dying)
        heir.follow({})
        assert heir.held == set()
    assert heir.lost() == []
    assert not heir.is_free(PLAN)
    assert states(heir) == ["FAIL"] * MOST_ATTEMPTS


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="needs Linux")
def test_a_worker_in_a_container_called_like_this_machine_is_not_taken_for_dead(workers) -> None:
    there, here = workers(), workers()
    there.take(PLAN, "uniform")
    bury(there, elsewhere="0")  # of another namespace of process IDs
    here.follow({})
    assert here.held == {PLAN}
    assert there._worker.startswith(f"{socket.gethostname()}/")


def test_a_trial_of_nobody_and_given_up_leases_fail(workers) -> None:
    from optuna.trial import TrialState

    dead, heir = workers(), workers()
    dead._add(PLAN, "uniform", TrialState.RUNNING)  # died before it said whose it is
    heir.follow({})
    assert (heir.held, heir.lost(), states(heir)) == (set(), [], ["FAIL"])
    heir.take(PLAN, "uniform")
    heir.leave()
    assert states(heir) == ["FAIL", "FAIL"]
    heir.follow({})
    assert heir.lost() == [(PLAN, "uniform")]


def test_a_worker_taken_for_dead_that_saves_after_all_is_counted_once(workers) -> None:
    slow, other = workers(), workers()
    slow.follow({})
    slow.take(PLAN, "uniform")
    bury(slow)
    other.follow({})
    other.take(PLAN, "uniform")
    slow.follow(told(PLAN))
    other.follow(told(PLAN))
    assert sorted(states(other)) == ["COMPLETE", "FAIL"]
