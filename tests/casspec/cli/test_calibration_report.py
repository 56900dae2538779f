"""How the outcome of a calibration is told."""

from __future__ import annotations

import pytest

from casspec.cli import calibration_report
from casspec.storage.predictions import BatchPrediction, TaskCascade
from casspec.storage.schema import BatchRow
from tests.storage import samples


@pytest.fixture
def said(monkeypatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(calibration_report, "say", lines.append)
    return lines


def test_the_outcome_tells_prediction_and_measurement_apart(said, monkeypatch) -> None:
    monkeypatch.setattr(calibration_report.output, "print", lambda table: None)
    calibration_report.print_outcome(samples.profile(), samples.bench_report())
    calibration_report.print_outcome(
        samples.profile(), samples.bench_report(replayed={"greedy": {"overall": 1.64, "qa": 9.0}})
    )
    assert [line for line in said if line.startswith("measured")] == [
        "measured  greedy 1.60x on 4 other prompts, predicted 1.50x: gap -6.2%",
        "measured  greedy 1.60x on 4 other prompts, of which replay predicts 1.64x: gap +2.5%",
    ]


def test_a_benchmark_that_was_asked_for_and_cannot_be_is_told(said) -> None:
    calibration_report.print_outcome(samples.profile(), None, asked=True)
    (line,) = [line for line in said if line.startswith("measured")]
    assert "no prompt that leaves room" in line


def test_a_prediction_is_told_with_its_interval(said) -> None:
    calibration_report.print_outcome(samples.profile(predicted_interval={"greedy": (1.25, 1.75)}), None)
    (line,) = [line for line in said if line.startswith("predicted")]
    assert line.startswith("predicted 1.50x (1.25-1.75) greedy")


def test_the_outcome_tells_tasks_and_batches_where_they_were_asked(said) -> None:
    calibration_report.print_outcome(samples.profile(), None)
    assert not [line for line in said if line.startswith(("measured", "tasks", "batches"))]
    speedup = {"sample": 1.2, "greedy": 1.4}
    own = TaskCascade(decision="retrieval-only", predicted_speedup=speedup)
    profile = samples.profile(
        by_task={"tests": own},
        task_gains={"tests": 1.05, "docstring": 0.99},
        predicted_by_batch=tuple(
            BatchPrediction(batch=batch, decision="cascade", speedup=speedup, verified=batch == 1) for batch in (1, 8)
        ),
    )
    calibration_report.print_outcome(profile, None)
    assert "tasks     tests has its own (+5.0%), docstring does without (-1.0%)" in said
    assert "batches   8: 1.20x cascade (sample; `casspec bench --batch` measures)" in said
    row = BatchRow(
        method="dytc", batch=8, tokens_per_s=90, over_plain=1.13, least=1.1, most=1.2, over_one=5, token_ms=80, rounds=2
    )
    calibration_report.print_outcome(profile, samples.bench_report(batches=(row,)))
    assert "batches   8: 1.20x cascade (1.13x measured) (sample)" in said
