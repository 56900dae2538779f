"""A mirror of calibrations in MLflow: one parent run a calibration, a child a part of it, the profile in the registry.

Our database is the truth. The mirror is brought up to date in one go after a search, and again where an interrupted one
left off: runs and versions are found by their tags, so nothing is doubled, nothing is missing and no run stays open. MLflow
knows no key that two processes could not both create, so those of one machine write in turn. Those of several machines may both
create a run: the earlier one stays.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from casspec.profiler.progress import Progress, silent
from casspec.storage.errors import CasspecError, MirrorError
from casspec.storage.export.json_profile import artifact_file, export
from casspec.storage.schema import BenchReport, CascadeProfile
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.external_databases import ExternalDatabases
from casspec.tuner.mlflow_mirror.client import mlflow_client, unusable
from casspec.tuner.mlflow_mirror.registry import Registry
from casspec.tuner.mlflow_mirror.runs import EPOCH, Part, bench_part, children, measured_metrics, parent_part
from casspec.tuner.report_page import render_page

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT = "casspec"
CALIBRATION_TAG = "casspec.calibration"
PART_TAG = "casspec.part"
BENCH_TAG = "casspec.bench"
ENGINE_TAG = "casspec.engine"
PARENT_TAG = "mlflow.parentRunId"
RUNS_A_PAGE = 1000
LONGEST_VALUE = 500
FINISHED = "FINISHED"
PATIENCE_S = 2.0
"""For another process, before a word is said about it."""

LONGEST_S = 120.0
"""That a server of a team is written to in one go; what is left then is left for another time."""

PROFILE_FOLDER = "profile"

_log = logging.getLogger("casspec")


class MLflowMirror:
    """Writes to MLflow at `databases`; our own database is created on first use.

    Everything that writes raises MirrorError where MLflow cannot be used.

    Args:
        clock: seconds.
    """

    def __init__(self, databases: ExternalDatabases, clock: Callable[[], float] = time.monotonic) -> None:
        from filelock import FileLock

        self._databases, self._clock, self._ends_s = databases, clock, float("inf")
        self._turn = FileLock(databases.mirror_lock)
        with self._failures() if databases.mirrored else self._writing():
            self._client = mlflow_client(databases)
            self._registry = Registry(self._client, databases.is_team)
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
                    self._delete([stranger])
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
                condition = f"tags.`{BENCH_TAG}` = '{report.content_hash()}'"
                run = self._only_run(condition, part.name, {BENCH_TAG: report.content_hash(), **part.tags})
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
                self._check_time()
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
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None and experiment.lifecycle_stage == "active":
            return str(experiment.experiment_id)
        try:
            if experiment is None:
                root = self._databases.artifact_root
                where = None if root is None else root.as_uri()
                return str(self._client.create_experiment(EXPERIMENT, artifact_location=where))
            self._client.restore_experiment(experiment.experiment_id)  # its name stays taken
        except MlflowException:
            experiment = self._client.get_experiment_by_name(EXPERIMENT)
            if experiment is None or experiment.lifecycle_stage != "active":
                raise
        return str(experiment.experiment_id)  # that of whoever was faster, if not ours

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Waits for its turn; raises what `_failures` raises."""
        from filelock import Timeout

        is_team = self._databases.is_team
        try:
            self._databases.make_room()
            try:
                self._turn.acquire(timeout=PATIENCE_S)
            except Timeout:
                _log.warning("waiting for another casspec process that writes to MLflow's database")
                self._turn.acquire(timeout=LONGEST_S if is_team else -1)
        except Timeout:
            raise MirrorError(f"another casspec process still writes to MLflow at {self._databases.shown}") from None
        except OSError as error:
            raise MirrorError(f"MLflow waits for a turn at {self._databases.mirror_lock} ({error.strerror})") from None
        try:
            self._ends_s = self._clock() + LONGEST_S if is_team else float("inf")
            with self._failures():
                yield
        finally:
            self._turn.release()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Raises MirrorError of one line in place of an error about MLflow."""
        try:
            yield
        except CasspecError:
            raise
        except Exception as error:
            instead = unusable(error, self._databases)
            if instead is None:
                raise
            raise instead from error

    def _check_time(self) -> None:
        """Raises MirrorError where this takes too long."""
        if self._clock() > self._ends_s:
            raise MirrorError(f"MLflow at {self._databases.shown} is slow: told in part after {LONGEST_S:g} s")

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
        condition = f"tags.`{CALIBRATION_TAG}` = '{calibrated.calibration_id}'"
        return self._only_run(condition, calibrated.name, {CALIBRATION_TAG: str(calibrated.calibration_id)})

    def _only_run(self, condition: str, name: str, tags: Mapping[str, str]) -> Run:
        """The run that no other stands above and that meets a condition; created where there is none."""
        found = self._alone(condition)
        if not found:
            self._client.create_run(self._experiment_id, tags=dict(tags), run_name=name)
            found = self._alone(condition)  # another machine may have done the same
        kept, *doubles = found
        for double in doubles:
            self._delete([double, *self._search(f"tags.`{PARENT_TAG}` = '{double.info.run_id}'")])
        return kept

    def _alone(self, condition: str) -> list[Run]:
        return [run for run in self._search(condition) if PARENT_TAG not in run.data.tags]

    def _delete(self, runs: Sequence[Run]) -> None:
        """Where another machine has not deleted them already."""
        for run in runs:
            if self._client.get_run(run.info.run_id).info.lifecycle_stage == "active":
                self._client.delete_run(run.info.run_id)

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
                self._delete([run])
        return found

    def _mirror_child(self, parent_id: str, part: Part, run: Run | None, tags: Mapping[str, str] | None = None) -> None:
        if run is not None and run.info.status == FINISHED:
            return
        self._check_time()
        if run is None:
            run = self._create(part, {PARENT_TAG: parent_id, PART_TAG: part.key, **(tags or {})})
        self._fill(run.info.run_id, part)
        self._client.set_terminated(run.info.run_id)

    def _create(self, part: Part, tags: Mapping[str, str]) -> Run:
        return self._client.create_run(self._experiment_id, tags={**part.tags, **tags}, run_name=part.name)

    def _fill(self, run_id: str, part: Part) -> None:
        self._log(run_id, part.metrics, part.params, part.measured_at)
        for file, text in part.texts.items():
            self._check_time()
            self._client.log_text(run_id, text, file)
        for file, figure in part.figures().items():
            self._check_time()
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
        """The earliest first."""
        order = ["attributes.start_time ASC", "attributes.run_id ASC"]
        runs: list[Run] = []
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment_id], condition, max_results=RUNS_A_PAGE, order_by=order, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs
