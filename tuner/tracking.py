"""A mirror of calibrations in MLflow: one parent run a calibration, a child a candidate, figures and documents.

Our database is the truth. The mirror is brought up to date in one go after a search, and again where an interrupted one
left off: runs are found by their tags, so nothing is doubled, nothing is missing and no run stays open.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from casspec.storage.schema import BenchReport, CascadeProfile, DrafterCandidate, LatencyModel, LatencySample
from casspec.tuner.bench_rows import OVERALL
from casspec.tuner.companions import Companions
from casspec.tuner.plans import PlanSpec

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

EXPERIMENT = "casspec"
CALIBRATION_TAG = "casspec.calibration"
CANDIDATE_TAG = "casspec.candidate"
BENCH_TAG = "casspec.bench"
PARENT_TAG = "mlflow.parentRunId"
RUNS_A_PAGE = 1000
LONGEST_VALUE = 500
EPOCH = datetime.fromtimestamp(0, UTC)
FINISHED = "FINISHED"


@dataclass(frozen=True)
class Calibrated:
    """What is known of one calibration."""

    calibration_id: str
    name: str
    settings: Mapping[str, Any]
    candidates: Sequence[DrafterCandidate]
    samples: Sequence[LatencySample]
    profile: CascadeProfile


class Tracker:
    """Writes to MLflow's own database at `places`; created on first use."""

    def __init__(self, places: Companions) -> None:
        places.make_room()
        self._client = _client(places.tracking_uri)
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        self._experiment_id = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(EXPERIMENT, artifact_location=places.artifact_root.as_uri())
        )

    @property
    def page(self) -> str:
        """Where MLflow's interface shows the runs: by itself it opens a page about traces of language models."""
        return f"#/experiments/{self._experiment_id}?workflowType=machine_learning"

    def mirror(self, calibrated: Calibrated, watch: Any = lambda done, total: None) -> None:
        """Brings parent, children and artifacts of a calibration up to date. `watch`: called with (children, of all)."""
        parent = self._parent(calibrated.calibration_id, calibrated.name)
        run_id = parent.info.run_id
        children = self._children(run_id)
        for done, candidate in enumerate(calibrated.candidates, start=1):
            self._mirror_candidate(run_id, candidate, children.pop(_key(candidate), None))
            watch(done, len(calibrated.candidates))
        for stranger in children.values():
            self._client.delete_run(stranger.info.run_id)
        self._log(run_id, _profile_metrics(calibrated.profile), _params(calibrated))
        self._log_artifacts(run_id, calibrated)
        if parent.info.status != FINISHED:
            self._client.set_terminated(run_id)

    def mirror_bench(self, calibration_id: str | None, report: BenchReport) -> None:
        """Adds a benchmark to the run of a calibration that was mirrored before; None gives it a run of its own.

        Figures of every method over all tasks as metrics; the report, its table and its charts as artifacts.
        """
        from casspec.tuner.bench_figures import bench_figures
        from casspec.tuner.report import bench_markdown

        run_id = (
            self._bench_run(report)
            if calibration_id is None
            else self._parent(calibration_id, calibration_id).info.run_id
        )
        metrics = {}
        for row in report.rows:
            if row.task == OVERALL:
                name = f"bench/{row.mode}/{row.method}-{row.variant}"
                metrics[f"{name}/speedup"] = row.speedup
                metrics[f"{name}/mean_acceptance_length"] = row.mean_acceptance_length
                metrics[f"{name}/tokens_per_second"] = row.tokens_per_second
        self._log(run_id, metrics, {}, datetime.fromisoformat(report.created_at))
        self._client.log_text(run_id, report.canonical_json(), "bench.json")
        self._client.log_text(run_id, bench_markdown(report), "bench.md")
        for file, figure in bench_figures(report).items():
            self._client.log_figure(run_id, figure, file)
        self._client.set_terminated(run_id)

    def _bench_run(self, report: BenchReport) -> str:
        """ID of the run of a benchmark that belongs to no calibration, known by the report's content."""
        report_hash, about = report.content_hash(), report.environment
        for run in self._search(f"tags.`{BENCH_TAG}` = '{report_hash}'"):
            return str(run.info.run_id)
        name = f"bench {about.get('model', {}).get('name', '')} {report.created_at[:10]}"
        run = self._client.create_run(self._experiment_id, tags={BENCH_TAG: report_hash}, run_name=name)
        told = ("suite", "profile", "dtype", "threads", "seed", "max_new_tokens", "repeats", "warm", "command_line")
        params = {key: str(about[key]) for key in told if about.get(key) is not None}
        self._log(run.info.run_id, {"noise": report.noise}, params, datetime.fromisoformat(report.created_at))
        return str(run.info.run_id)

    def _parent(self, calibration_id: str, name: str) -> Run:
        for run in self._search(f"tags.`{CALIBRATION_TAG}` = '{calibration_id}'"):
            return run
        return self._client.create_run(self._experiment_id, tags={CALIBRATION_TAG: calibration_id}, run_name=name)

    def _children(self, parent_id: str) -> dict[str, Run]:
        """Child runs by candidate; of doubles one is kept and the others are deleted."""
        children: dict[str, Run] = {}
        for run in self._search(f"tags.`{PARENT_TAG}` = '{parent_id}'"):
            kept = children.setdefault(run.data.tags.get(CANDIDATE_TAG, run.info.run_id), run)
            if kept is not run:
                self._client.delete_run(run.info.run_id)
        return children

    def _mirror_candidate(self, parent_id: str, candidate: DrafterCandidate, run: Run | None) -> None:
        if run is not None and run.info.status == FINISHED:
            return
        skip = candidate.skip
        if run is None:
            tags = {
                PARENT_TAG: parent_id,
                CANDIDATE_TAG: _key(candidate),
                "skip.attention": ",".join(map(str, skip.attention)),
                "skip.mlp": ",".join(map(str, skip.mlp)),
            }
            name = f"{candidate.source} {PlanSpec.of(candidate).name}"
            run = self._client.create_run(self._experiment_id, tags=tags, run_name=name)
        metrics = {
            "acceptance": candidate.acceptance,
            "acceptance_spread": candidate.acceptance_spread,
            "cost": candidate.cost,
            "step_ms": candidate.step_ms,
            "seconds": candidate.seconds,
        } | {f"acceptance_depth_{d}": a for d, a in enumerate(candidate.acceptance_by_depth, start=1)}
        params = {
            "source": candidate.source,
            "precision": str(candidate.quantization.precision),
            "skipped": str(len(skip)),
        }
        self._log(run.info.run_id, metrics, params)
        self._client.set_terminated(run.info.run_id)

    def _log_artifacts(self, run_id: str, calibrated: Calibrated) -> None:
        from casspec.profiler.figures import fit_figure
        from casspec.tuner.figures import pareto_figure, sensitivity_figure

        profile, candidates = calibrated.profile, calibrated.candidates
        self._client.log_text(run_id, profile.canonical_json(), "profile.json")
        self._client.log_text(run_id, _candidate_table(candidates), "candidates.json")
        if candidates:
            self._client.log_figure(run_id, pareto_figure(candidates), "pareto.png")
            self._client.log_figure(run_id, sensitivity_figure(candidates, profile.model.n_layers), "sensitivity.png")
        if calibrated.samples:
            self._client.log_figure(run_id, fit_figure(calibrated.samples, profile.latency), "latency.png")

    def _log(
        self, run_id: str, metrics: Mapping[str, float], params: Mapping[str, str], measured_at: datetime = EPOCH
    ) -> None:
        """Step and time do not depend on when this runs, so that logging the same again changes nothing."""
        from mlflow.entities import Metric, Param

        timestamp_ms = int(measured_at.timestamp() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, timestamp_ms, 0) for name, value in metrics.items()],
            params=[Param(name, value[:LONGEST_VALUE]) for name, value in params.items()],
        )

    def _search(self, condition: str) -> list[Run]:
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs([self._experiment_id], condition, max_results=RUNS_A_PAGE, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs


def _client(tracking_uri: str) -> MlflowClient:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for library in ("mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.WARNING)
    from mlflow.tracking import MlflowClient

    for library in ("mlflow", "alembic"):  # importing mlflow sets its own level
        logging.getLogger(library).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=tracking_uri)


def _key(candidate: DrafterCandidate) -> str:
    return f"{candidate.skip.content_hash()[:24]}-{candidate.quantization.precision}"


def _params(calibrated: Calibrated) -> dict[str, str]:
    profile = calibrated.profile
    return {
        "model": profile.model.name,
        "device": profile.device.name,
        "dtype": profile.dtype,
        "profile": profile.profile_id,
        "decision": profile.decision,
    } | {name: str(value) for name, value in calibrated.settings.items()}


def _profile_metrics(profile: CascadeProfile) -> dict[str, float]:
    return _latency_metrics(profile.latency) | {
        f"predicted_speedup/{mode}": speedup for mode, speedup in profile.predicted_speedup.items()
    }


def _latency_metrics(model: LatencyModel) -> dict[str, float]:
    return {
        "latency/cv_median_error": model.cv_median_error,
        "latency/cv_p90_error": model.cv_p90_error,
        "latency/test_retest": model.test_retest,
    }


def _candidate_table(candidates: Sequence[DrafterCandidate]) -> str:
    columns = (
        "source",
        "precision",
        "attention",
        "mlp",
        "acceptance",
        "acceptance_by_depth",
        "cost",
        "step_ms",
        "n_tokens",
    )
    plans = [(c.source, c.quantization.precision, c.skip.attention, c.skip.mlp) for c in candidates]
    scores = [(c.acceptance, c.acceptance_by_depth, c.cost, c.step_ms, c.n_tokens) for c in candidates]
    return json.dumps({"columns": columns, "data": [(*a, *b) for a, b in zip(plans, scores, strict=True)]})
