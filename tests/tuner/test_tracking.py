"""The mirror against MLflow's own SQLite store."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from casspec.profile_lookup import load_profile
from casspec.runtime.loading.loader import LoadedProfile
from casspec.storage.errors import StorageError
from casspec.storage.schema import Artifact, CascadeProfile, DrafterCandidate, Precision, Quantization
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.external_databases import ExternalDatabases, external_databases
from casspec.tuner.mlflow_mirror import mirror as tracking
from casspec.tuner.mlflow_mirror.mirror import BENCH_TAG, CALIBRATION_TAG, PARENT_TAG, PART_TAG, MLflowMirror
from casspec.tuner.mlflow_mirror.registry import PROFILE_TAG, registered_name
from casspec.tuner.mlflow_mirror.runs import trial_part
from tests.profiler.fakes import SHAPE
from tests.storage import samples

MATRIX = b"matrix"


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory, with_mirror: Callable[[Path], Path]) -> ExternalDatabases:
    return external_databases(str(with_mirror(tmp_path_factory.mktemp("mirror") / "casspec.db")))


@pytest.fixture(scope="module")
def tracker(databases: ExternalDatabases) -> MLflowMirror:
    return MLflowMirror(databases)


def candidates(n: int) -> list[DrafterCandidate]:
    """Every second one is the skip set of the one before, in 8 bits."""
    precisions = (Precision.INT8_DYNAMIC, Precision.TARGET)
    return [
        samples.candidate(
            ((i + 1) // 2,),
            acceptance=0.5 + i / 20,
            source="sensitivity",
            quantization=Quantization(precision=precisions[i % 2]),
        )
        for i in range(1, n + 1)
    ]


def profile(**changes: Any) -> CascadeProfile:
    latency = samples.latency_model().model_copy(
        update={"features": ("constant",), "coefficients": (1.0,), "shape": SHAPE}
    )
    matrix = Artifact(name="recycling-matrix", sha256=hashlib.sha256(MATRIX).hexdigest(), n_bytes=len(MATRIX))
    return samples.profile(**{"latency": latency, "artifacts": (matrix,)} | changes)


def calibrated(calibration_id: str, n: int = 2, aliases: tuple[str, ...] = (), **changes: Any) -> CalibrationHistory:
    """`aliases`: those of this profile."""
    told = profile(**changes)
    return CalibrationHistory(
        profile=told,
        calibration_id=calibration_id,
        settings={"suite": "x" * 9000, "seed": 0},
        candidates=candidates(n),
        samples=[samples.sample(n_tokens) for n_tokens in (1, 2, 4)],
        files={"recycling-matrix": MATRIX},
        aliases=dict.fromkeys(aliases, told.content_hash()),
    )


def parent_of(tracker: MLflowMirror, calibration_id: str) -> Any:
    (parent,) = tracker._search(f"tags.`{CALIBRATION_TAG}` = '{calibration_id}'")
    assert parent.info.status == "FINISHED"
    return parent


def children(tracker: MLflowMirror, calibration_id: str) -> dict[str, Any]:
    runs = tracker._search(f"tags.`{PARENT_TAG}` = '{parent_of(tracker, calibration_id).info.run_id}'")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len({run.data.tags[PART_TAG] for run in runs}) == len(runs)
    return {run.data.tags[PART_TAG]: run for run in runs}


def files(tracker: MLflowMirror, run: Any) -> set[str]:
    return {file.path for file in tracker._client.list_artifacts(run.info.run_id)}


def versions(tracker: MLflowMirror, told: CascadeProfile) -> list[Any]:
    return list(tracker._client.search_model_versions(f"tags.`{PROFILE_TAG}` = '{told.content_hash()}'"))


def aliases(tracker: MLflowMirror, told: CascadeProfile) -> dict[str, str]:
    """Profile ID by alias of the registered model."""
    model = tracker._client.get_registered_model(registered_name(told))
    of_version = {
        str(one.version): one.tags["profile_id"]
        for one in tracker._client.search_model_versions(f"name = '{model.name}'")
    }
    return {alias: of_version[str(version)] for alias, version in model.aliases.items()}


def test_a_trial_has_its_acceptance_by_depth_and_the_positions_that_comes_from() -> None:
    by_depth = {"acceptance_by_depth": (0.75, 1.0), "trials_by_depth": (64, 16)}
    metrics = trial_part(candidates(1)[0].model_copy(update=by_depth)).metrics
    told = {name: value for name, value in metrics.items() if "depth" in name}
    assert told == {
        "acceptance_depth_1": 0.75,
        "acceptance_depth_2": 1.0,
        "trials_depth_1": 64,
        "trials_depth_2": 16,
    }


def test_a_calibration_is_one_parent_with_children_for_its_parts(tracker) -> None:
    tracker.mirror(calibrated("whole", 3))
    runs = children(tracker, "whole")
    trials = [run for calibration_id, run in runs.items() if calibration_id.startswith("trial")]
    assert set(runs) - {run.data.tags[PART_TAG] for run in trials} == {"latency", "replay"}
    assert sorted(run.data.metrics["acceptance"] for run in trials) == [c.acceptance for c in candidates(3)]
    told = {(run.data.tags["skip.attention"], run.data.params["precision"]) for run in trials}
    assert told == {("1", "target"), ("1", "int8-dynamic"), ("2", "target")}
    assert sum(run.info.run_name.startswith("sensitivity int8-1a1m-") for run in trials) == 1
    assert files(tracker, parent_of(tracker, "whole")) == {"profile", "candidates.csv", "pareto.png", "sensitivity.png"}
    assert files(tracker, runs["latency"]) == {
        "points.csv",
        "latency.png",
        "latency-errors.png",
        "latency-roofline.png",
    }
    assert files(tracker, runs["replay"]) == {"cascade.csv", "predicted.csv", "methods.csv"}
    assert runs["replay"].data.metrics["predicted/sample/overall"] == 1.4
    assert runs["replay"].data.params == {"decision": "cascade", "dytc.max_nodes": "16"}


def test_a_benchmark_is_a_child_and_completes_the_parent(tracker) -> None:
    known = calibrated("raced")
    tracker.mirror(known)
    report = samples.bench_report()
    for _ in range(2):
        tracker.mirror_bench(report, known)
        tracker.mirror(known)  # leaves the benchmark as it is
    (bench,) = (run for calibration_id, run in children(tracker, "raced").items() if calibration_id.startswith("bench"))
    assert bench.data.metrics["bench/greedy/dytc-tuned/speedup"] == 1.6
    assert files(tracker, bench) == {"bench.json", "bench.md", "bench-speedup-greedy.png", "bench-time-greedy.png"}
    parent = parent_of(tracker, "raced")
    measured, predicted = (parent.data.metrics[f"{what}_speedup/greedy"] for what in ("measured", "predicted"))
    assert (measured, predicted) == (1.6, 1.5)
    assert "report.html" in files(tracker, parent)


def test_tasks_may_be_called_anything(tracker) -> None:
    tasks = {"c++": 1.3, "Q&A (short)": 1.2, "..": 1.1, "übung/" + "x" * 300: 1.0}
    tracker.mirror(calibrated("named", seed=5, predicted_by_task={"greedy": tasks}))
    metrics = children(tracker, "named")["replay"].data.metrics
    assert metrics["predicted/greedy/c__"] == 1.3
    assert set(tasks.values()) <= set(metrics.values())
    assert any(name.startswith("predicted/greedy/übung_xxx") for name in metrics)


def test_an_interrupted_mirror_is_completed_without_doubles(tracker) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, total: int) -> None:
        if done == 3:
            raise Killed

    with pytest.raises(Killed):
        tracker.mirror(calibrated("killed", 4), progress=kill)
    (parent,) = tracker._search(f"tags.`{CALIBRATION_TAG}` = 'killed'")
    # Killed between creating a run and filling it, and two processes that created the same one.
    for key in (trial_part(candidates(3)[2]).key,) * 2 + ("left by an older release",):
        tags = {PARENT_TAG: parent.info.run_id, PART_TAG: key}
        tracker._client.create_run(tracker._experiment_id, tags=tags)
    for _ in range(2):
        tracker.mirror(calibrated("killed", 4))
        runs = children(tracker, "killed")
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
        for mirrored in [pool.submit(one.mirror, calibrated("at once")) for one in hasty]:
            mirrored.result()
    assert set(children(MLflowMirror(databases), "at once")) >= {"latency", "replay"}


def test_whoever_waits_for_another_process_says_so(tracker, databases, monkeypatch, caplog) -> None:
    monkeypatch.setattr(tracking, "PATIENCE_S", 0.05)
    with ThreadPoolExecutor(1) as pool:
        with FileLock(databases.mirror_lock):
            waiting = pool.submit(MLflowMirror(databases).mirror, calibrated("later"))
            while "waiting for another casspec process" not in caplog.text:
                time.sleep(0.01)
            assert not waiting.done()
        waiting.result()
    assert set(children(tracker, "later")) >= {"latency", "replay"}


def test_a_profile_is_one_version_however_often_it_is_mirrored(tracker) -> None:
    known = calibrated("registered", aliases=("candidate",), seed=11)
    tracker.mirror(known)
    (version,) = versions(tracker, known.profile)
    assert version.tags["decision"] == "cascade"
    # Two processes that made the same one, and an alias lost to a kill before it was set.
    folder = version.source
    tracker._client.create_model_version(version.name, folder, version.run_id, tags=version.tags)
    tracker._client.delete_registered_model_alias(version.name, "candidate")
    tracker.mirror(known)
    assert [one.version for one in versions(tracker, known.profile)] == [version.version]
    assert aliases(tracker, known.profile)["candidate"] == known.profile.profile_id


def test_aliases_follow_the_store(tracker) -> None:
    first, second = calibrated("first", seed=21), calibrated("second", seed=22)
    one, two = (known.profile.content_hash() for known in (first, second))

    def shown() -> dict[str, int]:
        seeds = {first.profile.profile_id: 21, second.profile.profile_id: 22}
        return {alias: seeds[profile_id] for alias, profile_id in aliases(tracker, first.profile).items()}

    tracker.mirror(replace(first, aliases={"candidate": one, "production": one}))
    tracker.mirror(replace(second, aliases={"candidate": two, "production": one}))
    assert shown() == {"candidate": 22, "production": 21}
    tracker.promote(replace(second, aliases={"candidate": two, "production": two}))
    assert shown() == {"candidate": 22, "production": 22}
    tracker.forget(second.profile, {"candidate": one, "production": one})
    assert versions(tracker, second.profile) == []
    assert shown() == {"candidate": 21, "production": 21}
    tracker.promote(replace(first, aliases={"production": one, "candidate": "a profile that was never mirrored"}))
    assert shown() == {"production": 21}


def test_a_calibration_that_was_never_mirrored_is_when_it_is_promoted_or_raced(tracker) -> None:
    known = calibrated("late", aliases=("production",), seed=31)
    assert tracker.promote(known) > 0
    assert len(children(tracker, "late")) == 4
    tracker.mirror_bench(samples.bench_report(), calibrated("later", seed=32))
    assert len(children(tracker, "later")) == 5


def test_another_device_is_another_registered_model(tracker) -> None:
    here, there = (calibrated(f"on {n}", device=samples.device(threads=n)) for n in (3, 4))
    for one in (here, there):
        tracker.mirror(one)
    names = [versions(tracker, one.profile)[0].name for one in (here, there)]
    assert names[0] != names[1]
    assert all(name.startswith("tiny-float32-test-processor-") for name in names)


def test_companions_stand_beside_a_file_however_it_is_named(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    named = {external_databases(name) for name in ("my.db", "sqlite:///my.db", "sqlite:///file:my.db?uri=true")}
    assert [databases.artifact_root for databases in named] == [tmp_path / "my.mlflow"]


def test_a_version_downloads_as_a_profile_that_can_be_loaded(tracker, databases, tmp_path, monkeypatch) -> None:
    import mlflow

    known = calibrated("served", aliases=("production",), seed=41, dtype="bfloat16")
    tracker.mirror(known)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", databases.tracking_uri)
    uri = f"models:/{registered_name(known.profile)}@production"
    folder = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path))
    assert load_profile(Path(folder) / "profile.json") == LoadedProfile(known.profile, MATRIX)


def test_what_someone_deleted_in_the_interface_comes_back(tmp_path, with_mirror) -> None:
    databases = external_databases(str(with_mirror(tmp_path / "casspec.db")))
    tracker = MLflowMirror(databases)
    tracker.mirror(calibrated("deleted"))
    tracker._client.delete_experiment(tracker._experiment_id)
    again = MLflowMirror(databases)
    again.mirror(calibrated("deleted"))
    assert again._experiment_id == tracker._experiment_id
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


def test_companions_are_databases_of_their_own(tmp_path: Path) -> None:
    beside = external_databases(str(tmp_path / "mine.db"))
    assert beside.study_url == f"sqlite:///{tmp_path}/mine.optuna.db"
    assert beside.tracking_uri == f"sqlite:///{tmp_path}/mine.mlflow.db"
    server = external_databases("postgresql://user:secret@host/base")
    other = external_databases("postgresql://user:secret@elsewhere/base")
    assert server.study_url == "postgresql+psycopg://user:secret@host/base?options=-csearch_path%3Dcasspec_optuna"
    assert server.study_url != other.study_url
    assert server.tracking_uri != other.tracking_uri
    assert "secret" not in f"{server.tracking_uri} {server.artifact_root}"


def test_a_benchmark_of_no_calibration_is_one_run_with_its_table_and_charts(tracker) -> None:
    report = samples.bench_report(noise=0.02, environment={"model": {"name": "tiny"}, "threads": 2, "suite": "mine"})
    for _ in range(2):
        tracker.mirror_bench(report)
    (run,) = tracker._search(f"tags.`{BENCH_TAG}` = '{report.content_hash()}'")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"threads": "2", "suite": "mine"}
    assert run.data.metrics["noise"] == 0.02
    assert run.data.metrics["bench/greedy/dytc-tuned/speedup"] == 1.6
    assert files(tracker, run) == {"bench.json", "bench.md", "bench-speedup-greedy.png", "bench-time-greedy.png"}
