"""The short benchmark that ends a calibration, and what replay says of the very prompts it decodes."""

from __future__ import annotations

from casspec.profiler.progress import Progress
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.loading.loader import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.repository import Repository
from casspec.storage.schema import CASCADE, BenchReport, CascadeProfile
from casspec.tuner.bench.entries import AUTOREGRESSIVE, TUNED, method_entries
from casspec.tuner.bench.run import run_benchmark
from casspec.tuner.calibration.run import MATRIX_NAME
from casspec.tuner.recordings.plan_traces import TraceShelf
from casspec.tuner.recordings.stage import reporting_recordings, stored_recordings
from casspec.tuner.replay.overhead import stored_overheads
from casspec.tuner.replay.run import ReplayRun, StepCosts, speedups
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.suites.prompts import Prompt, Suite
from casspec.tuner.suites.token_prompts import spread_over_tasks, with_room

CLOSING_METHODS = ("prompt-lookup", CASCADE)
"""As tuned: the cascade and the plainest thing it has to beat. `casspec bench` compares all."""


def closing_bench(
    repository: Repository,
    calibration_id: str,
    target: TargetModel,
    suite: Suite,
    settings: CalibrationSettings,
    profile: CascadeProfile,
    progress: Progress,
) -> BenchReport | None:
    """Decodes a few prompts of the reporting half, of conversations the first turn; not stored, but the recordings of them are.

    None where no prompt of that half leaves room for the tokens.

    Args:
        calibration_id: ID of the calibration.
    """
    fitting = with_room(target, suite.half("reporting"), settings.bench_tokens)
    prompts = [prompt.opening() for prompt in spread_over_tasks(fitting, settings.bench_prompts)]
    if not prompts:
        return None
    matrix = next((a.sha256 for a in profile.artifacts if a.name == MATRIX_NAME), None)
    loaded = LoadedProfile(profile, repository.artifact(matrix) if matrix else None)
    replayed = _replayed(
        repository, calibration_id, target, settings, profile, loaded.recycling_matrix, prompts, progress
    )
    report = run_benchmark(
        target,
        prompts,
        [
            entry
            for entry in method_entries(target, loaded, CLOSING_METHODS)
            if entry.variant == TUNED or entry.method == AUTOREGRESSIVE
        ],
        settings.bench_modes,
        settings.bench_tokens,
        seed=settings.seed,
        progress=progress,
        settings={"suite": suite.name, "suite_sha256": suite.content_hash(), "profile": profile.profile_id},
    )
    return report.model_copy(update={"replayed": replayed})


def _replayed(
    repository: Repository,
    calibration_id: str,
    target: TargetModel,
    settings: CalibrationSettings,
    profile: CascadeProfile,
    matrix: bytes | None,
    prompts: list[Prompt],
    progress: Progress,
) -> dict[str, dict[str, float]]:
    """Speedup of dytc by mode and task, predicted of these prompts."""

    def load() -> TargetModel:
        return target

    def tell(done: int, total: int | None = None, note: str = "") -> None:
        progress(done, total, f"recording {note}" if note else "replaying")

    asked = settings.model_copy(update={"modes": settings.bench_modes})
    recordings = reporting_recordings(repository, calibration_id, load, prompts, asked, settings.bench_tokens, tell)
    forward_ms = LatencyPredictor(profile.latency).forward_ms
    tuning = list(stored_recordings(repository, calibration_id).values())
    overheads = stored_overheads(repository, calibration_id, load, tuning, forward_ms)
    costs = StepCosts(target.full_plan, forward_ms, overheads)
    shelf = TraceShelf(repository, calibration_id, recordings, load)
    return speedups(ReplayRun(profile, matrix, recordings, shelf, costs).method(CASCADE).rows())
