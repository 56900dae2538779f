"""The mirror against MLflow's own SQLite store."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import pytest
from filelock import FileLock

from casspec.storage.errors import MirrorError, StorageError
from casspec.tuner.external_databases import external_databases
from casspec.tuner.mlflow_mirror import mirror as mirror_module
from casspec.tuner.mlflow_mirror.mirror import BENCH_TAG, CALIBRATION_TAG, PARENT_TAG, PART_TAG, MLflowMirror
from casspec.tuner.mlflow_mirror.runs import trial_part
from tests.storage import samples
from tests.tuner.mlflow_mirror.mirrored import candidates, children, files, history, parent_of


def test_a_benchmark_is_a_child_and_completes_the_parent(mlflow_mirror) -> None:
    known = history("raced")
    mlflow_mirror.mirror(known)
    report = samples.bench_report()
    for _ in range(2):
        mlflow_mirror.mirror_bench(report, known)
        mlflow_mirror.mirror(known)  # leaves the benchmark as it is
    (bench,) = (
        run for calibration_id, run in children(mlflow_mirror, "raced").items() if calibration_id.startswith("bench")
    )
    assert bench.data.metrics["bench/greedy/dytc-tuned/speedup"] == 1.6
    assert files(mlflow_mirror, bench) == {
        "bench.json",
        "bench.md",
        "bench-speedup-greedy.png",
        "bench-time-greedy.png",
    }
    parent = parent_of(mlflow_mirror, "raced")
    measured, predicted = (parent.data.metrics[f"{what}_speedup/greedy"] for what in ("measured", "predicted"))
    assert (measured, predicted) == (1.6, 1.5)
    assert "report.html" in files(mlflow_mirror, parent)


def test_an_interrupted_mirror_is_completed_without_doubles(mlflow_mirror) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, total: int) -> None:
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        mlflow_mirror.mirror(history("killed", 4), progress=kill)
    (parent,) = mlflow_mirror._search(f"tags.`{CALIBRATION_TAG}` = 'killed'")
    # Killed between creating a run and filling it, and two processes that created the same one.
    for key in (trial_part(candidates(3)[2]).key,) * 2 + ("left by an older release",):
        tags = {PARENT_TAG: parent.info.run_id, PART_TAG: key}
        mlflow_mirror._client.create_run(mlflow_mirror._experiment_id, tags=tags)
    for _ in range(2):
        mlflow_mirror.mirror(history("killed", 4))
        runs = children(mlflow_mirror, "killed")
        trials = [run for calibration_id, run in runs.items() if calibration_id.startswith("trial")]
        assert sorted(run.data.metrics["acceptance"] for run in trials) == [c.acceptance for c in candidates(4)]
        assert len(runs) == 4 + 2


def test_two_processes_that_mirror_at_once_make_no_doubles(databases) -> None:
    both = threading.Barrier(2)

    class Hasty(MLflowMirror):
        """Searches when the other one does, and waits for it before it creates what it did not find."""

        def _search(self, condition: str) -> Any:
            found = super()._search(condition)
            with suppress(threading.BrokenBarrierError):
                both.wait(timeout=0.2)
            return found

    hasty = [Hasty(databases), Hasty(databases)]
    with ThreadPoolExecutor(2) as pool:
        for mirrored in [pool.submit(one.mirror, history("at once")) for one in hasty]:
            mirrored.result()
    assert set(children(MLflowMirror(databases), "at once")) >= {"latency", "replay"}


def test_whoever_waits_for_another_process_says_so(mlflow_mirror, databases, monkeypatch, caplog) -> None:
    monkeypatch.setattr(mirror_module, "PATIENCE_S", 0.05)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(databases.mirror_lock):
            waiting = pool.submit(MLflowMirror(databases).mirror, history("later"))
            while "waiting for another casspec process" not in caplog.text:
                time.sleep(0.01)
            assert not waiting.done()
        waiting.result()
    assert set(children(mlflow_mirror, "later")) >= {"latency", "replay"}


def test_a_calibration_that_was_never_mirrored_is_when_it_is_promoted_or_raced(mlflow_mirror) -> None:
    known = history("late", aliases=("production",), seed=31)
    assert mlflow_mirror.promote(known) > 0
    assert len(children(mlflow_mirror, "late")) == 4
    mlflow_mirror.mirror_bench(samples.bench_report(), history("later", seed=32))
    assert len(children(mlflow_mirror, "later")) == 5


def test_what_someone_deleted_in_the_interface_comes_back(tmp_path, with_mirror) -> None:
    databases = external_databases(str(with_mirror(tmp_path / "casspec.db")))
    mlflow_mirror = MLflowMirror(databases)
    mlflow_mirror.mirror(history("deleted"))
    mlflow_mirror._client.delete_experiment(mlflow_mirror._experiment_id)
    again = MLflowMirror(databases)
    again.mirror(history("deleted"))
    assert again._experiment_id == mlflow_mirror._experiment_id
    assert len(children(again, "deleted")) == 4


@pytest.mark.parametrize("damage", ["of another release", "no database"])
def test_a_database_of_mlflow_that_cannot_be_used_is_told_in_one_line(tmp_path, with_mirror, damage) -> None:
    databases = external_databases(str(with_mirror(tmp_path / "casspec.db")))
    file = tmp_path / "casspec.mlflow.db"
    if damage == "no database":
        file.write_bytes(b"x" * 5000)
    else:
        with closing(sqlite3.connect(file)) as database:
            database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
            database.commit()
    with pytest.raises(StorageError, match=r"casspec\.mlflow\.db cannot be used .*run the same command again") as told:
        MLflowMirror(databases)
    assert len(str(told.value).splitlines()) == 1


def test_of_runs_that_two_machines_created_at_once_the_earlier_stays(of_host) -> None:
    mirror = MLflowMirror(of_host("here"))
    client, experiment = mirror._client, mirror._experiment_id
    report = samples.bench_report()
    for start_time in (2_000, 1_000, 3_000):
        run = client.create_run(experiment, start_time, {CALIBRATION_TAG: "twice"}, str(start_time))
        client.create_run(experiment, start_time, {PARENT_TAG: run.info.run_id, PART_TAG: "latency"})
        client.create_run(experiment, start_time, {BENCH_TAG: report.content_hash()}, str(start_time))
    for host in ("here", "there"):
        MLflowMirror(of_host(host)).mirror(history("twice"))
        MLflowMirror(of_host(host)).mirror_bench(report)
    assert parent_of(mirror, "twice").info.run_name == "1000"
    assert len(children(mirror, "twice")) == 4
    (bench,) = mirror._search(f"tags.`{BENCH_TAG}` = '{report.content_hash()}'")
    assert bench.info.run_name == "1000"
    assert len(mirror._search("")) == 1 + 4 + 1


def test_an_experiment_that_another_machine_creates_meanwhile_is_taken(of_host) -> None:
    class Late(MLflowMirror):
        """Does not see the experiment at its first look."""

        def _experiment(self) -> str:
            look, looks = self._client.get_experiment_by_name, []

            def late(name: str) -> Any:
                looks.append(name)
                return look(name) if len(looks) > 1 else None

            self._client.get_experiment_by_name = late  # type: ignore[method-assign]
            return super()._experiment()

    first = MLflowMirror(of_host("here"))
    assert Late(of_host("there"))._experiment_id == first._experiment_id


def test_a_slow_server_of_a_team_is_told_in_part_and_the_rest_later(of_host) -> None:
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += mirror_module.LONGEST_S / 4
        return now_s

    with pytest.raises(MirrorError, match="is slow"):
        MLflowMirror(of_host("here"), clock).mirror(history("slow", 6))
    mirror = MLflowMirror(of_host("here"))
    (parent,) = mirror._search(f"tags.`{CALIBRATION_TAG}` = 'slow'")
    assert parent.info.status == "RUNNING"
    mirror.mirror(history("slow", 6))
    assert len(children(mirror, "slow")) == 6 + 2


def test_a_process_that_writes_for_too_long_is_not_waited_for(of_host, monkeypatch) -> None:
    for name in ("PATIENCE_S", "LONGEST_S"):
        monkeypatch.setattr(mirror_module, name, 0.01)
    databases = of_host("here")
    mirror = MLflowMirror(databases)
    with FileLock(databases.mirror_lock), pytest.raises(MirrorError, match="another casspec process"):
        mirror.mirror(history("waits"))
