"""The short benchmark that ends a calibration, and what replay says of the very prompts it decodes."""

from __future__ import annotations

from casspec.profiler.progress import Progress, Stages
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import CASCADE, RECYCLING_MATRIX, BatchRow, BenchReport, CascadeProfile
from casspec.tuner.bench.batches import race_batches
from casspec.tuner.bench.entries import AGAINST, AUTOREGRESSIVE, TUNED, against_entries, method_entries
from casspec.tuner.bench.run import run_benchmark
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.context import CalibrationContext
from casspec.tuner.external_databases import MIRRORED_BENCH
from casspec.tuner.mlflow_mirror.owed import Debt
from casspec.tuner.mlflow_mirror.telling import tell_mlflow
from casspec.tuner.recordings.plan_traces import TraceShelf
from casspec.tuner.recordings.stage import reporting_recordings, stored_recordings
from casspec.tuner.replay.overhead import stored_overheads
from casspec.tuner.replay.run import ReplayRun, StepCosts, speedups
from casspec.tuner.suites.prompts import Prompt, asked_turns, spread_over_tasks
from casspec.tuner.suites.token_prompts import token_prompts, with_room

PLAINEST = "prompt-lookup"
"""What the cascade has to beat."""

BATCH_ROUNDS = 2
"""Pairs of a batch with the cascade and without."""


def bench(
    context: CalibrationContext, profile: CascadeProfile, stages: Stages, against: LoadedProfile | None = None
) -> BenchReport | None:
    """The newest benchmark of the profile, run on a few prompts of the reporting half where there is none.

    MLflow is told of it, or owed it.

    Args:
        against: another profile; then the newest benchmark that raced both.

    None where no prompt of that half leaves room for the tokens.
    """
    repository, calibration_id = context.repository, context.calibration_id
    reports = repository.bench_reports(profile.profile_id)
    if against is not None and against.document is not None:
        reports = raced(reports, against.document)
    if not reports:
        with stages.stage("bench") as progress:
            report = closing_bench(context, profile, progress, against)
            if report is None:
                repository.put_document(calibration_id, MIRRORED_BENCH, "none", {"mirrored": False})
                return None
            reports = [repository.save_bench(profile.profile_id, report)]
    report_hash = reports[0].content_hash()
    if repository.get_document(calibration_id, MIRRORED_BENCH, report_hash) is None:
        settings = context.settings.model_dump(mode="json")
        history = CalibrationHistory.of_calibration(repository, calibration_id, profile, settings)
        debt = Debt(profile.content_hash(), report_hash)
        tell_mlflow(repository, context.databases, debt, lambda mlflow: mlflow.mirror_bench(reports[0], history))
        repository.put_document(calibration_id, MIRRORED_BENCH, report_hash, {"mirrored": True})
    return reports[0]


def raced(reports: list[BenchReport], against: CascadeProfile) -> list[BenchReport]:
    """Those that another profile ran in."""
    return [report for report in reports if report.environment.get(AGAINST) == against.content_hash()]


def closing_bench(
    context: CalibrationContext, profile: CascadeProfile, progress: Progress, against: LoadedProfile | None = None
) -> BenchReport | None:
    """Decodes a few prompts of the reporting half, with as many turns as are recorded; not stored, but the recordings of them are.

    Args:
        against: another profile, which takes its turns text by text.

    None where no prompt of that half leaves room for the tokens.
    """
    target, suite, asked, recorded = context.target, context.suite, context.settings.bench, context.settings.record
    fitting = with_room(target, suite.half("reporting"), asked.tokens, recorded.long)
    prompts = asked_turns(spread_over_tasks(fitting, asked.prompts), recorded.turns)
    if not prompts:
        return None
    matrix = next((a.sha256 for a in profile.artifacts if a.name == RECYCLING_MATRIX), None)
    loaded = LoadedProfile(profile, context.repository.artifact(matrix) if matrix else None)
    other = None if against is None else against.document
    replayed = _replayed(context, profile, loaded.recycling_matrix, prompts, progress)
    report = run_benchmark(
        target,
        prompts,
        [
            entry
            for entry in method_entries(target, loaded, closing_methods(profile))
            if entry.variant == TUNED or entry.method == AUTOREGRESSIVE
        ]
        + ([] if against is None else against_entries(target, against)),
        asked.modes,
        asked.tokens,
        seed=context.settings.seed,
        progress=progress,
        settings={"suite": suite.name, "suite_sha256": suite.content_hash(), "profile": profile.profile_id}
        | ({} if other is None else {AGAINST: other.content_hash()}),
        long=recorded.long,
    )
    return report.model_copy(update={"replayed": replayed, "batches": _batches(context, loaded, fitting, progress)})


def _batches(
    context: CalibrationContext, profile: LoadedProfile, fitting: list[Prompt], progress: Progress
) -> tuple[BatchRow, ...]:
    """The cascade and plain decoding with many texts at a time; no more of them than there are prompts."""
    target, asked = context.target, context.settings.bench
    prompts = token_prompts(target, spread_over_tasks(fitting, max(asked.batches, default=0)))
    sizes = [batch for batch in asked.batches if batch <= len(prompts)]
    rows = list[BatchRow]()
    for mode in asked.modes if sizes else ():
        temperature = context.settings.record.temperature if mode == "sample" else 0.0
        progress(0, None, f"texts side by side, {mode}")
        how = asked.batch_tokens, temperature, BATCH_ROUNDS, context.settings.seed
        rows += race_batches(target, profile, [CASCADE], prompts, sizes, *how)
    return tuple(rows)


def closing_methods(profile: CascadeProfile) -> list[str]:
    """As tuned: the plainest thing, the cascade, and what the profile takes to be fastest. `casspec bench` compares all."""
    return list(dict.fromkeys([PLAINEST, *map(profile.fastest, profile.predicted_speedup), CASCADE]))


def _replayed(
    context: CalibrationContext,
    profile: CascadeProfile,
    matrix: bytes | None,
    prompts: list[Prompt],
    progress: Progress,
) -> dict[str, dict[str, float]]:
    """Speedup of dytc by mode and task, predicted of these prompts."""
    repository, calibration_id = context.repository, context.calibration_id
    settings, asked = context.settings, context.settings.bench

    def load() -> TargetModel:
        return context.target

    def tell(done: int, total: int | None = None, note: str = "") -> None:
        progress(done, total, f"recording {note}" if note else "replaying")

    recorded = settings.record.model_copy(update={"modes": asked.modes, "tokens": asked.tokens})
    recordings = reporting_recordings(repository, calibration_id, load, prompts, recorded, settings.seed, tell)
    forward_ms = LatencyPredictor(profile.latency).forward_ms
    tuning = list(stored_recordings(repository, calibration_id).values())
    overheads = stored_overheads(repository, calibration_id, load, tuning, forward_ms)
    costs = StepCosts(context.target.full_plan, forward_ms, overheads)
    shelf = TraceShelf(repository, calibration_id, recordings, load)
    return speedups(ReplayRun(profile, matrix, recordings, shelf, costs).method(CASCADE).rows())
