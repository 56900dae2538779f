"""Runs of the mirror: which there are, and what each holds."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from casspec.tuner.mlflow_mirror.mirror import BENCH_TAG, PART_TAG
from casspec.tuner.mlflow_mirror.runs import LONGEST_WORD, measured_metrics, metric_word, parent_part, trial_part
from tests.storage import samples
from tests.tuner.mlflow_mirror.mirrored import candidates, children, files, history, parent_of


def test_a_calibration_is_one_parent_with_children_for_its_parts(mlflow_mirror) -> None:
    mlflow_mirror.mirror(history("whole", 3))
    runs = children(mlflow_mirror, "whole")
    trials = [run for calibration_id, run in runs.items() if calibration_id.startswith("trial")]
    assert set(runs) - {run.data.tags[PART_TAG] for run in trials} == {"latency", "replay"}
    assert sorted(run.data.metrics["acceptance"] for run in trials) == [c.acceptance for c in candidates(3)]
    told = {(run.data.tags["skip.attention"], run.data.params["precision"]) for run in trials}
    assert told == {("1", "target"), ("1", "int8-dynamic"), ("2", "target")}
    assert sum(run.info.run_name.startswith("sensitivity int8-1a1m-") for run in trials) == 1
    assert files(mlflow_mirror, parent_of(mlflow_mirror, "whole")) == {
        "profile",
        "candidates.csv",
        "pareto.png",
        "sensitivity.png",
    }
    assert files(mlflow_mirror, runs["latency"]) == {
        "points.csv",
        "latency.png",
        "latency-errors.png",
        "latency-roofline.png",
    }
    assert files(mlflow_mirror, runs["replay"]) == {"cascade.csv", "predicted.csv", "methods.csv"}
    assert runs["replay"].data.metrics["predicted/sample/overall"] == 1.4
    assert runs["replay"].data.params == {
        "decision": "cascade",
        "dytc.max_nodes": "16",
        "fastest.greedy": "dytc",
        "fastest.sample": "dytc",
    }


def test_tasks_may_be_called_anything(mlflow_mirror) -> None:
    tasks = {"c++": 1.3, "Q&A (short)": 1.2, "..": 1.1, "übung/" + "x" * 300: 1.0}
    mlflow_mirror.mirror(history("named", seed=5, predicted_by_task={"greedy": tasks}))
    metrics = children(mlflow_mirror, "named")["replay"].data.metrics
    assert metrics["predicted/greedy/c__"] == 1.3
    assert set(tasks.values()) <= set(metrics.values())
    assert any(name.startswith("predicted/greedy/übung_xxx") for name in metrics)


def test_a_benchmark_of_no_calibration_is_one_run_with_its_table_and_charts(mlflow_mirror) -> None:
    report = samples.bench_report(noise=0.02, environment={"model": {"name": "tiny"}, "threads": 2, "suite": "mine"})
    for _ in range(2):
        mlflow_mirror.mirror_bench(report)
    (run,) = mlflow_mirror._search(f"tags.`{BENCH_TAG}` = '{report.content_hash()}'")
    assert run.info.status == "FINISHED"
    assert run.data.params == {"threads": "2", "suite": "mine"}
    assert run.data.metrics["noise"] == 0.02
    assert run.data.metrics["bench/greedy/dytc-tuned/speedup"] == 1.6
    assert files(mlflow_mirror, run) == {"bench.json", "bench.md", "bench-speedup-greedy.png", "bench-time-greedy.png"}


def test_trials_are_told_apart_by_what_is_left_out_and_by_precision() -> None:
    parts = [trial_part(candidate) for candidate in candidates(4)]
    assert len({part.key for part in parts}) == 4
    again = candidates(1)[0].model_copy(update={"acceptance": 0.1, "source": "tpe"})
    assert trial_part(again).key == parts[0].key, "the same plan is the same run"
    assert parts[0].params == {"source": "sensitivity", "precision": "target", "skipped": "2"}


@given(st.text(max_size=300))
def test_a_metric_of_any_task_has_a_name_mlflow_takes(task: str) -> None:
    word = metric_word(task)
    assert len(word) == min(len(task), LONGEST_WORD)
    assert re.fullmatch(r"[\w -]*", word)


def test_measured_speedups_are_those_of_all_tasks_in_the_modes_that_were_measured() -> None:
    rows = (samples.bench_row("dytc", "qa", speedup=9.0), samples.bench_row("dytc", speedup=1.7))
    report = samples.bench_report(rows=rows)
    assert measured_metrics(samples.profile(), report) == {"measured_speedup/greedy": 1.7}


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


def test_the_parent_names_its_profile_and_every_setting_by_stage() -> None:
    nested = {"seed": 3, "search": {"trials": 12}, "profile": {"seconds": 2.0}}
    known = replace(history("settings", 1), settings=nested)
    params = parent_part(known).params
    assert params["profile"] == known.profile.profile_id
    assert (params["search.trials"], params["profile.seconds"], params["seed"]) == ("12", "2.0", "3")
