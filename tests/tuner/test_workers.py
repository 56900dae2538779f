"""Several workers on one search: nothing is evaluated or counted twice, whoever dies, and nobody outlives the command."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import update

from casspec.storage import open_repository
from casspec.storage.database.tables import LeaseRow
from casspec.storage.errors import CalibrationNotFound, ProfileMismatch, StorageError, UnsupportedOption
from casspec.storage.schema import DrafterCandidate, Precision, SkipSet
from casspec.tuner.external_databases import external_databases
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.stage import StoredSearch, joined
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from casspec.tuner.search.workers.leases import MOST_ATTEMPTS, TrialLeases
from casspec.tuner.search.workers.optuna_storage import open_study, study_storage
from casspec.tuner.search.workers.processes import WorkerPool, share_of
from tests.storage import samples
from tests.tuner.small_calibration import SETTINGS as SMALL
from tests.tuner.small_calibration import StageLog, calibrate, small_target
from tests.tuner.synthetic import SETTINGS, SyntheticEvaluator
from tests.tuner.tiny import tiny_target

TRIALS = 40
N_LAYERS = 4
PRECISIONS = (Precision.TARGET,)
PLAN = PlanSpec(SkipSet(attention=(1,)))


def told_plans(url: str, name: str) -> Counter[str]:
    """Plans of finished trials; none may be open."""
    import optuna

    from casspec.tuner.search.space import spec_of

    trials = optuna.load_study(study_name=name, storage=url).trials
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "FAIL"}, "a trial was left open"
    return Counter(spec_of(trial.params).name for trial in trials if trial.state.name == "COMPLETE")


# -------------------------------------------------------------------------------------------------------------- workers


def test_when_one_of_two_workers_is_killed_the_other_does_all_that_is_left_once(storage: str) -> None:
    with open_repository(storage) as repository:
        key = repository.calibration(samples.model(), samples.device(), "float32", SETTINGS).calibration_id
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
        stored = Counter(PlanSpec.of(candidate).name for candidate in repository.candidates(key))
    assert stored == told_plans(url, key)
    assert len(stored) == stored.total() == TRIALS


# --------------------------------------------------------------------------------------------------------------- leases


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


def test_a_trial_of_nobody_and_given_up_claims_fail(workers) -> None:
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


def test_a_worker_that_wakes_up_after_the_search_adds_nothing_to_it(tmp_path: Path) -> None:
    database = str(tmp_path / "casspec.db")
    with open_repository(database) as repository:
        key = repository.calibration(samples.model(), samples.device(), "float32", SETTINGS).calibration_id
        shared = StoredSearch(repository, key)

        class Asleep(SyntheticEvaluator):
            def evaluate(self, spec: PlanSpec, *arguments: Any, **options: Any) -> DrafterCandidate:
                if len(self.evaluated) == 2:
                    shared.close()
                    shared.end(2)
                return super().evaluate(spec, *arguments, **options)

        url, budget = external_databases(database).study_url, SearchBudget(TRIALS, seconds=1e9, patience=10**6)
        evaluator = Asleep()
        found = DrafterSearch(evaluator, 6, budget, [], shared.save, url, key, shared=shared).run()
        assert len(evaluator.evaluated) == 3
        assert repository.candidates(key) == found == found[:2]


def test_a_study_of_another_optuna_is_told_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "study.db"
    study_storage(f"sqlite:///{file}")
    with closing(sqlite3.connect(file)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        database.commit()
    with pytest.raises(StorageError, match=r"install -U optuna`\. Or move .*study\.db away"):
        study_storage(f"sqlite:///{file}")


# ----------------------------------------------------------------------------------------------------------------- join


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
            return joined(repository, external_databases(database), calibration, target, lambda done, note: None)  # type: ignore

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
    assert join() == (5, SMALL.trials)

    log: list[tuple[str, int]] = []
    calibrate(database, StageLog(lambda stage, done: log.append((stage, done))))
    assert "search" not in [stage for stage, _ in log]
    with open_repository(database) as repository:
        key, _ = repository.calibration_of("latest")
        calibration = repository.stored_calibration(key[:8])
        assert calibration.calibration_id == key
        assert (
            joined(repository, external_databases(database), calibration, small_target, lambda done, note: None) is None
        )
        stored = Counter(PlanSpec.of(candidate).name for candidate in repository.candidates(key))
        assert StoredSearch(repository, key).ended()
    assert stored == told_plans(external_databases(database).study_url, key)
    assert stored.total() == SMALL.trials


# ----------------------------------------------------------------------------------------------------------------- workers

SLEEPS = """
import time
from casspec.tuner.search.workers.processes import end_with_parent
end_with_parent()
print("up", flush=True)
while True:  # like a worker between two trials: one long sleep would not be interrupted
    time.sleep(0.05)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_crew_shares_threads_and_ends_with_its_block() -> None:
    workers, before = WorkerPool(2, [sys.executable, "-c", SLEEPS]), torch.get_num_threads()
    assert (workers.size, share_of(8, 3), share_of(1, 3)) == (3, 2, 1)
    started: list[int] = []
    popen = subprocess.Popen

    class Remembering(popen):  # type: ignore[type-arg, misc, valid-type]
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", Remembering)
        with workers.at_work("id"):
            assert len(started) == 2
            assert all(map(is_running, started))
    assert not any(map(is_running, started))
    assert torch.get_num_threads() == before


def test_a_worker_that_ends_early_is_told_of_and_hurts_nobody() -> None:
    said: list[str] = []
    dies = "import sys; print('error: no such model', file=sys.stderr); sys.exit(2)"
    with WorkerPool(1, [sys.executable, "-c", dies], say=said.append).at_work("id"):
        time.sleep(3)
    assert said == ["a worker ended early, the others did its part: error: no such model"]


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_worker_gives_up_in_order_though_a_shell_ignores_ctrl_c_for_it() -> None:
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + SLEEPS
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", ignored], text=True, **pipes) as worker:  # type: ignore[call-overload]
        assert worker.stdout.readline() == "up\n"
        worker.stdin.close()
        assert "KeyboardInterrupt" in worker.stderr.read()


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_no_worker_outlives_a_command_that_is_killed() -> None:
    script = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    deadline = time.monotonic() + 30
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(child)
