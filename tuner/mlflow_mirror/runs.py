"""What MLflow is told of a calibration, part by part: each is a child run with its figures and tables."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from casspec.storage.schema import OVERALL, BenchReport, CascadeProfile, DrafterCandidate
from casspec.tuner.bench.predicted_vs_measured import compare
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.search.plan_spec import PlanSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EPOCH = datetime.fromtimestamp(0, UTC)
LONGEST_WORD = 100


def _no_figures() -> Mapping[str, Figure]:
    return {}


@dataclass(frozen=True)
class Part:
    """A run: what tells it from its siblings, and what it holds. Figures are drawn when they are needed."""

    key: str
    name: str
    metrics: Mapping[str, float]
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    """By file name."""
    figures: Callable[[], Mapping[str, Figure]] = _no_figures
    """By file name."""
    measured_at: datetime = EPOCH


def children(calibrated: CalibrationHistory) -> Iterator[Part]:
    """The latency fit, every trial, the replay that chose the cascade."""
    yield latency_part(calibrated)
    yield from map(trial_part, calibrated.candidates)
    yield replay_part(calibrated)


def latency_part(calibrated: CalibrationHistory) -> Part:
    """The fit: its errors, every point at the slowdown that is predicted, predicted against measured."""
    from casspec.profiler.figures import error_figure, fit_figure, roofline_figure
    from casspec.profiler.slowdown import at_median_slowdown
    from casspec.runtime.latency.predictor import LatencyPredictor

    model, samples = calibrated.profile.latency, calibrated.samples
    predictor = LatencyPredictor(model)
    points = [
        (*one.point.model_dump(mode="json").values(), one.measurement.median_ms, predictor.predict_ms(one.point))
        for one in at_median_slowdown(samples)
    ]
    columns = [*samples[0].point.model_dump(), "measured_ms", "predicted_ms"] if samples else []
    return Part(
        key="latency",
        name="latency fit",
        metrics=_latency_metrics(calibrated.profile) | {"points": float(model.n_points)},
        params={"kind": model.kind},
        texts={"points.csv": _csv(columns, points)} if samples else {},
        figures=lambda: (
            {
                "latency.png": fit_figure(samples, model),
                "latency-errors.png": error_figure(samples, model),
                "latency-roofline.png": roofline_figure(samples, model),
            }
            if samples
            else {}
        ),
    )


def trial_part(candidate: DrafterCandidate) -> Part:
    """One drafter of the search."""
    skip = candidate.skip
    return Part(
        key=f"trial {skip.content_hash()[:24]}-{candidate.quantization.precision}",
        name=f"{candidate.source} {PlanSpec.of(candidate).name}",
        metrics={
            "acceptance": candidate.acceptance,
            "acceptance_spread": candidate.acceptance_spread,
            "cost": candidate.cost,
            "step_ms": candidate.step_ms,
            "seconds": candidate.seconds,
        }
        | {f"acceptance_depth_{depth}": a for depth, a in enumerate(candidate.acceptance_by_depth, start=1)}
        | {f"trials_depth_{depth}": float(n) for depth, n in enumerate(candidate.trials_by_depth, start=1)},
        params={
            "source": candidate.source,
            "precision": str(candidate.quantization.precision),
            "skipped": str(len(skip)),
        },
        tags={"skip.attention": ",".join(map(str, skip.attention)), "skip.mlp": ",".join(map(str, skip.mlp))},
    )


def replay_part(calibrated: CalibrationHistory) -> Part:
    """What replay chose and predicted."""
    profile = calibrated.profile
    predicted = [(row.mode, row.task, row.predicted) for row in compare(profile)]
    batches = [
        (one.batch, mode, one.decision, speedup, one.latencies, one.verified)
        for one in profile.predicted_by_batch
        for mode, speedup in one.speedup.items()
    ]
    drafters = [
        (
            one.name,
            one.kind,
            one.parameters.get("cascade", True),
            str(one.quantization.precision),
            " ".join(map(str, one.skip.attention)),
            " ".join(map(str, one.skip.mlp)),
            one.quantization.extra_bytes,
        )
        for one in profile.drafters
    ]
    columns = ("drafter", "kind", "in_cascade", "precision", "attention_left_out", "mlp_left_out", "extra_bytes")
    methods = [(entry.method, entry.variant, *pair) for entry in profile.methods for pair in entry.parameters.items()]
    texts = {
        "cascade.csv": _csv(columns, drafters),
        "predicted.csv": _csv(("mode", "task", "speedup"), predicted),
        "methods.csv": _csv(("method", "variant", "parameter", "value"), methods),
    }
    if batches:
        header = ("batch", "mode", "decision", "speedup", "latencies", "verified")
        texts["batches.csv"] = _csv(header, batches)
    return Part(
        key="replay",
        name="replay",
        metrics={
            f"predicted/{mode}/{metric_word(task)}": speedup for mode, task, speedup in predicted if speedup is not None
        },
        params={"decision": profile.decision}
        | {f"fastest.{mode}": profile.fastest(mode) for mode in profile.predicted_speedup}
        | {f"dytc.{k}": str(v) for k, v in profile.settings("dytc").items()},
        texts=texts,
    )


def bench_part(report: BenchReport) -> Part:
    """A benchmark: every method over all tasks as metrics; report, table and charts."""
    from casspec.tuner.bench.figures import bench_figures
    from casspec.tuner.bench.report import bench_markdown

    metrics = {"noise": report.noise}
    for row in report.rows:
        if row.task == OVERALL:
            name = f"bench/{row.mode}/{row.method}-{row.variant}"
            metrics[f"{name}/speedup"] = row.speedup
            metrics[f"{name}/mean_acceptance_length"] = row.mean_acceptance_length
            metrics[f"{name}/tokens_per_second"] = row.tokens_per_second
    about = report.environment
    told = ("suite", "profile", "dtype", "threads", "seed", "max_new_tokens", "repeats", "warm", "command_line")
    return Part(
        key=f"bench {report.content_hash()}",
        name=f"bench {about.get('model', {}).get('name', '')} {report.created_at[:10]}",
        metrics=metrics,
        params={key: str(about[key]) for key in told if about.get(key) is not None},
        texts={"bench.json": report.canonical_json(), "bench.md": bench_markdown(report)},
        figures=lambda: bench_figures(report),
        measured_at=datetime.fromisoformat(report.created_at),
    )


def parent_part(calibrated: CalibrationHistory) -> Part:
    """The calibration as a whole: its settings and outcome, and what the search found."""
    from casspec.tuner.search.figures import pareto_figure, sensitivity_figure

    profile, candidates = calibrated.profile, calibrated.candidates
    about = {
        "model": profile.model.name,
        "device": profile.device.name,
        "dtype": profile.dtype,
        "profile": profile.profile_id,
        "decision": profile.decision,
    }
    predicted = {f"predicted_speedup/{mode}": speedup for mode, speedup in profile.predicted_speedup.items()}
    return Part(
        key=str(calibrated.calibration_id),
        name=calibrated.name,
        metrics=_latency_metrics(profile) | predicted,
        params={name: str(value) for name, value in calibrated.flat_settings.items()} | about,
        texts={"candidates.csv": _candidate_table(candidates)},
        figures=lambda: (
            {
                "pareto.png": pareto_figure(candidates),
                "sensitivity.png": sensitivity_figure(candidates, profile.model.n_layers),
            }
            if candidates
            else {}
        ),
    )


def metric_word(task: str) -> str:
    """The name of a task, which may hold anything, as MLflow lets a metric be called."""
    return re.sub(r"[^\w -]", "_", task)[:LONGEST_WORD]


def measured_metrics(profile: CascadeProfile, report: BenchReport) -> dict[str, float]:
    """Of the parent, beside what was predicted there: overall speedups of dytc."""
    found = [row for row in compare(profile, [report]) if row.task == OVERALL and row.measured is not None]
    return {f"measured_speedup/{row.mode}": float(row.measured or 0) for row in found}


def _latency_metrics(profile: CascadeProfile) -> dict[str, float]:
    model = profile.latency
    return {
        "latency/cv_median_error": model.cv_median_error,
        "latency/cv_p90_error": model.cv_p90_error,
        "latency/test_retest": model.test_retest,
    }


def _candidate_table(candidates: Sequence[DrafterCandidate]) -> str:
    scores = ("acceptance", "acceptance_spread", "cost", "step_ms", "n_tokens")
    rows = [
        (
            PlanSpec.of(one).name,
            one.source,
            str(one.quantization.precision),
            " ".join(map(str, one.skip.attention)),
            " ".join(map(str, one.skip.mlp)),
            *(getattr(one, score) for score in scores),
        )
        for one in candidates
    ]
    return _csv(("drafter", "source", "precision", "attention_left_out", "mlp_left_out", *scores), rows)


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as MLflow's interface shows one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
