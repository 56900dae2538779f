"""The mirror against MLflow's own SQLite store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from casspec.storage.schema import DrafterCandidate, Precision, Quantization
from casspec.tuner.companions import Companions, companions
from casspec.tuner.tracking import BENCH_TAG, CALIBRATION_TAG, CANDIDATE_TAG, PARENT_TAG, Calibrated, Tracker, _key
from tests.storage import samples


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, with_mirror: Callable[[Path], Path]) -> Companions:
    return companions(str(with_mirror(tmp_path_factory.mktemp("mirror") / "casspec.db")))


@pytest.fixture(scope="module")
def tracker(places: Companions) -> Tracker:
    return Tracker(places)


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


def calibrated(calibration_id: str, n: int) -> Calibrated:
    return Calibrated(
        calibration_id=calibration_id,
        name="tiny on test processor",
        settings={"suite": "x" * 9000, "seed": 0},
        candidates=candidates(n),
        samples=[samples.sample(n_tokens) for n_tokens in (1, 2, 4)],
        profile=samples.profile(
            latency=samples.latency_model().model_copy(
                update={"features": ("constant",), "coefficients": (1.0,), "shape": {"launch_ms": 2.0}}
            )
        ),
    )


def children(tracker: Tracker, calibration_id: str) -> list:
    (parent,) = tracker._search(f"tags.`{CALIBRATION_TAG}` = '{calibration_id}'")
    assert parent.info.status == "FINISHED"
    runs = tracker._search(f"tags.`{PARENT_TAG}` = '{parent.info.run_id}'")
    assert {run.info.status for run in runs} == {"FINISHED"}
    return runs


def test_a_calibration_is_one_parent_with_a_child_a_candidate_and_its_figures(tracker, places) -> None:
    tracker.mirror(calibrated("whole", 3))
    runs = children(tracker, "whole")
    assert sorted(run.data.metrics["acceptance"] for run in runs) == [c.acceptance for c in candidates(3)]
    told = {(run.data.tags["skip.attention"], run.data.params["precision"]) for run in runs}
    assert told == {("1", "target"), ("1", "int8-dynamic"), ("2", "target")}
    assert sum(run.info.run_name.startswith("sensitivity int8-1a1m-") for run in runs) == 1
    (parent,) = tracker._search(f"tags.`{CALIBRATION_TAG}` = 'whole'")
    artifacts = {file.path for file in tracker._client.list_artifacts(parent.info.run_id)}
    assert artifacts == {"profile.json", "candidates.json", "pareto.png", "sensitivity.png", "latency.png"}
    assert any(places.artifact_root.rglob("profile.json"))
    tracker.mirror_bench("whole", samples.bench_report())
    (parent,) = tracker._search(f"tags.`{CALIBRATION_TAG}` = 'whole'")
    assert parent.data.metrics["bench/greedy/dytc-tuned/speedup"] == 1.6


def test_an_interrupted_mirror_is_completed_without_doubles(tracker) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        tracker.mirror(calibrated("killed", 4), watch=kill)
    (parent,) = tracker._search(f"tags.`{CALIBRATION_TAG}` = 'killed'")
    # Killed between creating a run and filling it, and two processes that created the same one.
    third = _key(candidates(3)[2])
    for key in (third, third):
        tags = {PARENT_TAG: parent.info.run_id, CANDIDATE_TAG: key}
        tracker._client.create_run(tracker._experiment_id, tags=tags)
    for _ in range(2):
        tracker.mirror(calibrated("killed", 4))
        runs = children(tracker, "killed")
        assert sorted(run.data.metrics["acceptance"] for run in runs) == [c.acceptance for c in candidates(4)]
        assert len({run.data.tags[CANDIDATE_TAG] for run in runs}) == 4


def test_companions_are_databases_of_their_own(tmp_path: Path) -> None:
    beside = companions(str(tmp_path / "mine.db"))
    assert beside.study_url == f"sqlite:///{tmp_path}/mine.optuna.db"
    assert beside.tracking_uri == f"sqlite:///{tmp_path}/mine.mlflow.db"
    server = companions("postgresql://user:secret@host/base")
    other = companions("postgresql://user:secret@elsewhere/base")
    assert server.study_url.startswith("sqlite:///")
    assert server.study_url != other.study_url
    assert "secret" not in str(server)


def test_a_benchmark_of_no_calibration_is_one_run_with_its_table_and_charts(tracker) -> None:
    report = samples.bench_report(noise=0.02, environment={"model": {"name": "tiny"}, "threads": 2, "suite": "mine"})
    for _ in range(2):
        tracker.mirror_bench(None, report)
    (run,) = tracker._search(f"tags.`{BENCH_TAG}` = '{report.content_hash()}'")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"threads": "2", "suite": "mine"}
    assert run.data.metrics["noise"] == 0.02
    assert run.data.metrics["bench/greedy/dytc-tuned/speedup"] == 1.6
    artifacts = {file.path for file in tracker._client.list_artifacts(run.info.run_id)}
    assert artifacts == {"bench.json", "bench.md", "bench-speedup-greedy.png", "bench-time-greedy.png"}
