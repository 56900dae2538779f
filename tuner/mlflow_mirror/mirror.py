"""A mirror of calibrations in MLflow: one parent run a calibration, a child a part of it, the profile in the registry.

Our database is the truth. The mirror is brought up to date in one go after a search, and again where an interrupted one
left off: runs and versions are found by their tags, so nothing is doubled, nothing is missing and no run stays open. MLflow
knows no key that two processes could not both create, so they write in turn.
"""

from __future__ import annotations

import logging
import os
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.engine import make_url

from casspec.profiler.progress import Progress, silent
from casspec.storage.errors import StorageError
from casspec.storage.export.json_profile import artifact_file, export
from casspec.storage.schema import BenchReport, CascadeProfile
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.external_databases import ExternalDatabases
from casspec.tuner.mlflow_mirror.registry import Registry
from casspec.tuner.mlflow_mirror.runs import EPOCH, Part, bench_part, children, measured_metrics, parent_part
from casspec.tuner.report_page import render_page

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

EXPERIMENT = "casspec"
CALIBRATION_TAG = "casspec.calibration"
PART_TAG = "casspec.part"
BENCH_TAG = "casspec.bench"
ENGINE_TAG = "casspec.engine"
PARENT_TAG = "mlflow.parentRunId"
RUNS_A_PAGE = 1000
LONGEST_VALUE = 500
LONGEST_REASON = 240
FINISHED = "FINISHED"
PATIENCE_S = 2.0
"""For another process, before a word is said about it."""
PROFILE_FOLDER = "profile"

_log = logging.getLogger("casspec")


class MLflowMirror:
    """Writes to MLflow's own database at `databases`; created on first use.

    Everything that writes raises StorageError where that database cannot be used.
    """

    def __init__(self, databases: ExternalDatabases) -> None:
        from filelock import FileLock

        databases.make_room()
        self._databases = databases
        self._turn = FileLock(databases.mirror_lock)
        with self._failures() if databases.mirrored else self._writing():
            self._client = _client(databases.tracking_uri)
            self._registry = Registry(self._client)
            self._experiment_id = self._experiment()

    @property
    def page(self) -> str:
        """Where MLflow's interface shows the runs: by itself it opens a page about traces of language models."""
        return f"#/experiments/{self._experiment_id}?workflowType=machine_learning"

    def mirror(self, calibrated: CalibrationHistory, progress: Progress = silent) -> None:
        """Brings parent, children, artifacts and version of a calibration up to date. `progress`: of its children."""
        with self._writing():
            parent = self._parent(calibrated)
            run_id = parent.info.run_id
            known = self._children(run_id)
            parts = list(children(calibrated))
            for done, part in enumerate(parts, start=1):
                self._mirror_child(run_id, part, known.pop(part.key, None))
                progress(done, len(parts))
            for stranger in known.values():
                if BENCH_TAG not in stranger.data.tags:  # benchmarks come later, and stay
                    self._client.delete_run(stranger.info.run_id)
            self._fill(run_id, parent_part(calibrated))
            self._register(run_id, calibrated)
            if parent.info.status != FINISHED:
                self._client.set_terminated(run_id)

    def mirror_bench(self, report: BenchReport, calibrated: CalibrationHistory | None = None) -> None:
        """Adds a benchmark: a child of the run of its calibration, else a run of its own.

        A calibration then also gets what was measured beside what was predicted, and its page.
        """
        part = bench_part(report)
        with self._writing():
            if calibrated is None:
                found = self._search(f"tags.`{BENCH_TAG}` = '{report.content_hash()}'")
                alone = [run for run in found if PARENT_TAG not in run.data.tags]
                run = alone[0] if alone else self._create(part, {BENCH_TAG: report.content_hash()})
                self._fill(run.info.run_id, part)
                self._client.set_terminated(run.info.run_id)
                return
            run_id = self._mirrored(calibrated)
            self._mirror_child(run_id, part, self._children(run_id).get(part.key), {BENCH_TAG: report.content_hash()})
            measured_at = datetime.fromisoformat(report.created_at)
            self._log(run_id, measured_metrics(calibrated.profile, report), {}, measured_at)
            self._client.log_text(run_id, render_page(calibrated), "report.html")
            self._client.set_terminated(run_id)

    def mirror_engine(self, parent: Part, parts: Sequence[Part]) -> None:
        """Brings the runs of a search over an engine's settings up to date; `parent.key` says which search it is."""
        with self._writing():
            found = self._search(f"tags.`{ENGINE_TAG}` = '{parent.key}'")
            run = found[0] if found else self._create(parent, {ENGINE_TAG: parent.key})
            known = self._children(run.info.run_id)
            for part in parts:
                child = known.get(part.key) or self._create(part, {PARENT_TAG: run.info.run_id, PART_TAG: part.key})
                self._fill(child.info.run_id, part)
                self._client.set_terminated(child.info.run_id)
            self._fill(run.info.run_id, parent)
            self._client.set_terminated(run.info.run_id)

    def promote(self, calibrated: CalibrationHistory) -> int:
        """Brings the aliases of a profile's registered model up to date and returns the profile's version."""
        with self._writing():
            return self._register(self._mirrored(calibrated), calibrated)

    def forget(self, profile: CascadeProfile, aliases: Mapping[str, str]) -> None:
        """Takes a deleted profile out of the registry, where `aliases` are left; its runs stay, as a record of what was tried."""
        with self._writing():
            self._registry.forget(profile, aliases)

    def _experiment(self) -> str:
        """ID of the experiment, created where it is missing and brought back where someone deleted it."""
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            where = self._databases.artifact_root.as_uri()
            return str(self._client.create_experiment(EXPERIMENT, artifact_location=where))
        if experiment.lifecycle_stage != "active":  # its name stays taken
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Waits for its turn; raises what `_failures` raises."""
        from filelock import Timeout

        try:
            self._turn.acquire(timeout=PATIENCE_S)
        except Timeout:
            _log.warning("waiting for another casspec process that writes to MLflow's database")
            self._turn.acquire()
        try:
            with self._failures():
                yield
        finally:
            self._turn.release()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raises StorageError of one line in place of an error about MLflow's database."""
        try:
            yield
        except Exception as error:
            from mlflow.exceptions import MlflowException  # not sooner: `_client` says how it is to be imported
            from sqlalchemy.exc import DBAPIError

            refuses_value = getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE"
            if refuses_value or not isinstance(error, MlflowException | DBAPIError):
                raise
            reason = textwrap.shorten(str(error).partition("\n")[0], LONGEST_REASON, placeholder=" ...")
            raise StorageError(
                f"MLflow's database {make_url(self._databases.tracking_uri).database} cannot be used ({reason}): what was "
                "measured is stored elsewhere; mend that database or move it away, then run the same command again"
            ) from error

    def _register(self, run_id: str, calibrated: CalibrationHistory) -> int:
        """The profile as a folder of the parent run, and as a version of its registered model."""
        profile = calibrated.profile
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "profile.json"
            file.write_text(export(profile).text, encoding="utf-8")
            for artifact in profile.artifacts:
                if artifact.name in calibrated.files:
                    artifact_file(file, artifact).write_bytes(calibrated.files[artifact.name])
            self._client.log_artifacts(run_id, folder, PROFILE_FOLDER)
        return self._registry.register(profile, f"runs:/{run_id}/{PROFILE_FOLDER}", run_id, calibrated.aliases)

    def _parent(self, calibrated: CalibrationHistory) -> Run:
        for run in self._search(f"tags.`{CALIBRATION_TAG}` = '{calibrated.calibration_id}'"):
            return run
        tags = {CALIBRATION_TAG: str(calibrated.calibration_id)}
        return self._client.create_run(self._experiment_id, tags=tags, run_name=calibrated.name)

    def _mirrored(self, calibrated: CalibrationHistory) -> str:
        """ID of the run of a calibration, which is mirrored now where it never was as a whole."""
        parent = self._parent(calibrated)
        if parent.info.status != FINISHED:
            self.mirror(calibrated)
        return str(parent.info.run_id)

    def _children(self, parent_id: str) -> dict[str, Run]:
        """Child runs by key; of doubles one is kept and the others are deleted."""
        found: dict[str, Run] = {}
        for run in self._search(f"tags.`{PARENT_TAG}` = '{parent_id}'"):
            kept = found.setdefault(run.data.tags.get(PART_TAG, run.info.run_id), run)
            if kept is not run:
                self._client.delete_run(run.info.run_id)
        return found

    def _mirror_child(self, parent_id: str, part: Part, run: Run | None, tags: Mapping[str, str] | None = None) -> None:
        if run is not None and run.info.status == FINISHED:
            return
        if run is None:
            run = self._create(part, {PARENT_TAG: parent_id, PART_TAG: part.key, **(tags or {})})
        self._fill(run.info.run_id, part)
        self._client.set_terminated(run.info.run_id)

    def _create(self, part: Part, tags: Mapping[str, str]) -> Run:
        return self._client.create_run(self._experiment_id, tags={**part.tags, **tags}, run_name=part.name)

    def _fill(self, run_id: str, part: Part) -> None:
        self._log(run_id, part.metrics, part.params, part.measured_at)
        for file, text in part.texts.items():
            self._client.log_text(run_id, text, file)
        for file, figure in part.figures().items():
            self._client.log_figure(run_id, figure, file)

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
    return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
