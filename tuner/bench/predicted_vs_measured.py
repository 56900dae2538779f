"""What a profile predicts beside what a benchmark measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from casspec.storage.schema import CASCADE, OVERALL, BenchReport, CascadeProfile, Mode
from casspec.tuner.calibration_history import latest_of_modes


@dataclass(frozen=True)
class Compared:
    """Speedup of dytc on one task ("overall": all of them) in one decoding mode; None where nothing is known."""

    mode: Mode
    task: str
    predicted: float | None
    measured: float | None
    spread: float = 0.0
    """Of the measured one over repeats, relative."""
    n_prompts: int = 0
    """The measured one is of."""
    interval: tuple[float, float] | None = None
    """Of the predicted one, by choice of prompts."""
    replayed: float | None = None
    """Predicted, too, but of the prompts that were measured."""
    noise: float = 0.0
    """Of the benchmark in this mode, autoregressive against itself."""

    @property
    def gap(self) -> float | None:
        """Predicted over measured, less one, of the same prompts where those were replayed: above zero too much was promised."""
        predicted = self.predicted if self.replayed is None else self.replayed
        return predicted / self.measured - 1 if predicted is not None and self.measured else None


def compare(profile: CascadeProfile, reports: Sequence[BenchReport] = ()) -> list[Compared]:
    """By mode: all tasks together, then each by name; each mode beside the newest of `reports` (the latest first) that measured it."""
    told = latest_of_modes(_of_cascade(report) for report in reports)
    newest = {row.mode: report for report in told for row in report.rows}
    measured = {(row.mode, row.task): row for report in told for row in report.rows}
    predicted = _predicted(profile)
    modes = dict.fromkeys(mode for mode, _ in [*predicted, *measured])
    rows = []
    for mode in modes:
        report = newest.get(mode)
        noise = report.environment.get("noise_by_mode", {}).get(mode, report.noise) if report else 0.0
        tasks = {task for known, task in [*predicted, *measured] if known == mode}
        for task in sorted(tasks, key=lambda task: (task != OVERALL, task)):
            row = measured.get((mode, task))
            speedup, spread, n_prompts = (row.speedup, row.spread, row.n_prompts) if row else (None, 0.0, 0)
            interval = profile.predicted_interval.get(mode) if task == OVERALL else None
            replayed = report.replayed.get(mode, {}).get(task) if report else None
            found = predicted.get((mode, task))
            rows.append(Compared(mode, task, found, speedup, spread, n_prompts, interval, replayed, noise))
    return rows


def _predicted(profile: CascadeProfile) -> dict[tuple[Mode, str], float]:
    modes: tuple[Mode, ...] = ("sample", "greedy")
    overall = {(mode, OVERALL): profile.predicted_speedup[mode] for mode in modes if mode in profile.predicted_speedup}
    by_task = {
        (mode, task): speedup for mode in modes for task, speedup in profile.predicted_by_task.get(mode, {}).items()
    }
    return overall | by_task


def _of_cascade(report: BenchReport) -> BenchReport:
    """What it says of dytc as the profile sets it."""
    rows = tuple(row for row in report.rows if row.method == CASCADE and row.variant == "tuned")
    return report.model_copy(update={"rows": rows})
