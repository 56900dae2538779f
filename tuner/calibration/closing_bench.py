"""The short benchmark that ends a calibration, and what replay says of the very prompts it decodes."""

from __future__ import annotations

from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.loading.loader import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.repository import Repository
from casspec.storage.schema import CASCADE, BenchReport, CascadeProfile
from casspec.tuner.bench.entries import AUTOREGRESSIVE, TUNED, method_entries
from casspec.tuner.bench.run import run_benchmark
from casspec.tuner.calibration.run import MATRIX_NAME
from casspec.tuner.cascade.stage import Bar
from casspec.tuner.recordings.plan_traces import TraceShelf
from casspec.tuner.recordings.stage import reporting_recordings, stored_recordings
from casspec.tuner.replay.overhead import stored_overheads
from casspec.tuner.replay.run import ReplayRun, StepCosts, speedups
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.suites.prompts import Prompt, Suite
from casspec.tuner.suites.requests import spread_over_tasks, with_room

CLOSING_METHODS = ("prompt-lookup", CASCADE)
"""As tuned: the cascade and the plainest thing it has to beat. `casspec bench` compares all."""


def closing_bench(
    repository: Repository,
    key: str,
    target: TargetModel,
    suite: Suite,
    settings: CalibrationSettings,
    profile: CascadeProfile,
    bar: Bar,
) -> BenchReport | None:
    """Decodes a few prompts of the reporting half, of conversations the first turn; not stored, but the recordings of them are.

    None where no prompt of that half leaves room for the tokens.

    Args:
        key: ID of the calibration.
    """
    fitting = with_room(target, suite.half("reporting"), settings.bench_tokens)
    prompts = [prompt.opening() for prompt in spread_over_tasks(fitting, settings.bench_prompts)]
    if not prompts:
        return None
    matrix = next((a.sha256 for a in profile.artifacts if a.name == MATRIX_NAME), None)
    loaded = LoadedProfile(profile, repository.artifact(matrix) if matrix else None)
    replayed = _replayed(repository, key, target, settings, profile, loaded.recycling_matrix, prompts, bar)
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
        progress=bar.update,
        settings={"suite": suite.name, "suite_sha256": suite.content_hash(), "profile": profile.profile_id},
    )
    return report.model_copy(update={"replayed": replayed})


def _replayed(
    repository: Repository,
    key: str,
    target: TargetModel,
    settings: CalibrationSettings,
    profile: CascadeProfile,
    matrix: bytes | None,
    prompts: list[Prompt],
    bar: Bar,
) -> dict[str, dict[str, float]]:
    """Speedup of dytc by mode and task, predicted of these prompts."""

    def load() -> TargetModel:
        return target

    def note(done: int, total: int, text: str) -> None:
        bar.update(done, total, f"recording {text}" if text else "replaying")

    asked = settings.model_copy(update={"modes": settings.bench_modes})
    recordings = reporting_recordings(repository, key, load, prompts, asked, settings.bench_tokens, note)
    forward_ms = LatencyPredictor(profile.latency).forward_ms
    tuning = list(stored_recordings(repository, key).values())
    overheads = stored_overheads(repository, key, load, tuning, forward_ms)
    costs = StepCosts(target.full_plan, forward_ms, overheads)
    shelf = TraceShelf(repository, key, recordings, load)
    return speedups(ReplayRun(profile, matrix, recordings, shelf, costs).method(CASCADE).rows())
