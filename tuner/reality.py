"""Replay beside reality: what a replay predicts of the same prompts and as many tokens as a benchmark really decoded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from casspec.storage.schema import BenchReport, Mode
from casspec.tuner.entries import AS_CALIBRATED
from casspec.tuner.replay_run import Predicted
from casspec.tuner.requests import SAMPLING_TEMPERATURE
from casspec.tuner.settings import CalibrationSettings


@dataclass(frozen=True)
class Gap:
    """One method on one task in one mode, both ways."""

    method: str
    variant: str
    mode: Mode
    task: str
    predicted_speedup: float
    measured_speedup: float
    predicted_length: float
    measured_length: float
    """Mean acceptance length."""

    @property
    def speedup_gap(self) -> float:
        """Predicted over measured, less one: above zero replay promised too much."""
        return self.predicted_speedup / self.measured_speedup - 1

    @property
    def length_gap(self) -> float:
        return self.predicted_length / self.measured_length - 1


def comparable(reports: Sequence[BenchReport], settings: CalibrationSettings) -> BenchReport | None:
    """The newest report (they come first) of the suite, noise and temperature that recordings of a calibration have."""
    wanted = {
        "suite_sha256": settings.suite_sha256,
        "seed": settings.seed,
        "temperature": settings.temperature,
        "warm": False,
        "interrupted": False,
        "prompts_left_out": [],
    }
    for report in reports:
        told = {"temperature": SAMPLING_TEMPERATURE} | report.environment
        if all(told.get(name) == value for name, value in wanted.items()):
            return report
    return None


def prompts_of(report: BenchReport) -> int:
    """How many prompts a benchmark decoded in each mode."""
    return max(row.n_prompts for row in report.rows)


def gaps(predicted: Iterable[Predicted], report: BenchReport) -> list[Gap]:
    """Of every row that both know, over as many prompts; where dytc was also decoded as calibrated, as it is replayed, of that too."""
    measured = {(row.method, row.variant, row.mode, row.task): row for row in report.rows}
    found = []
    for row in predicted:
        for variant in row.variant, AS_CALIBRATED:
            real = measured.get((row.method, variant, row.mode, row.task))
            if real is not None and real.n_prompts == row.n_prompts:
                lengths = row.mean_acceptance_length, real.mean_acceptance_length
                found.append(Gap(row.method, variant, row.mode, row.task, row.speedup, real.speedup, *lengths))
    return found
