"""A calibration from end to end: profile, record, search, choose the cascade, save the profile, mirror it.

Every stage leaves its outcome in the store as it goes and looks there first, so that a run that was interrupted or
killed anywhere goes on from there and ends with the same rows as an uninterrupted one. A finished calibration answers
from the store without measuring anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from casspec.profiler.progress import Stages
from casspec.profiler.stored import VERDICT_KIND, offered, profile_stored
from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.target import TargetModel
from casspec.storage.repository import ARTIFACT_KIND, Repository
from casspec.storage.schema import BenchReport, CascadeProfile
from casspec.tuner.calibration.closing_bench import closing_bench
from casspec.tuner.calibration.run import CalibrationRun, dtype_name
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.cascade.stage import TuneMethods
from casspec.tuner.external_databases import MIRRORED_BENCH, ExternalDatabases
from casspec.tuner.methods.by_replay import tune_methods
from casspec.tuner.mlflow_mirror.mirror import MLflowMirror
from casspec.tuner.recordings.stage import RECORDING_PREFIX, record_suite
from casspec.tuner.search.stage import StoredSearch
from casspec.tuner.search.workers.processes import NOBODY, WorkerPool
from casspec.tuner.settings import CASCADE_SETTINGS, CalibrationSettings
from casspec.tuner.suites.prompts import Suite

STAGES = ("profile", "record", "search", "cascade", "track")


@dataclass(frozen=True)
class Calibrator:
    """All a calibration needs besides what it calibrates on."""

    repository: Repository
    databases: ExternalDatabases
    tune_methods: TuneMethods = tune_methods
    workers: WorkerPool = NOBODY
    """Who helps with the search."""

    def stored(self, target: TargetModel, settings: CalibrationSettings) -> CascadeProfile | None:
        """The profile of a finished calibration with these settings."""
        finished = self._finished(target, settings)
        return finished[1] if finished else None

    def run(
        self,
        target: TargetModel,
        suite: Suite,
        settings: CalibrationSettings,
        stages: Stages,
        force: bool = False,
        source: str | None = None,
    ) -> CascadeProfile:
        """Runs or resumes the calibration of these inputs and returns its profile.

        Args:
            force: start a new attempt although a finished one is stored.
            source: ID of an earlier calibration of the same target and suite, whose latencies, recordings and
                candidates are taken over instead of being measured again, and whose search this one goes beyond. By
                default a finished one with the usual choice of the cascade that differs in nothing else, where there is
                one: then its search is this one's.

        Raises:
            UnsupportedModel: a model without a tokenizer; SuiteError: prompts that do not fit its context.
        """
        device = device_fingerprint(target.device)
        run = CalibrationRun(
            self.repository,
            self.databases,
            self.tune_methods,
            self._calibration_id(target, settings, force),
            target,
            suite,
            settings,
            self.workers,
        )
        if source is not None:
            take_over(self.repository, source, run.calibration_id)
        elif not force and (same := self._measured_before(target, settings)):
            StoredSearch(self.repository, run.calibration_id).note_taken_over(
                StoredSearch(self.repository, same).taken_over()
            )
            take_over(self.repository, same, run.calibration_id)
        with stages.stage("profile") as progress:
            latency = profile_stored(
                self.repository,
                run.calibration_id,
                target,
                device,
                progress,
                settings.profile_seconds,
                settings.seed,
                settings.profiled_context,
                settings.profiled_batch,
                least_rounds=settings.profile_rounds,
            )
        with stages.stage("record") as progress:
            recordings = record_suite(self.repository, run.calibration_id, target, suite, settings, progress)
        with stages.stage("search", settings.trials) as progress:
            precisions = [verdict.precision for verdict in offered(self.repository, run.calibration_id)]
            candidates = run.search(recordings, latency, progress, precisions)
        with stages.stage("cascade") as progress:
            profile = run.profile(recordings, latency, candidates, progress)
        with stages.stage("track") as progress:
            run.track(profile, progress)
        self.repository.finish(run.calibration_id)
        return profile

    def bench(
        self, target: TargetModel, suite: Suite, settings: CalibrationSettings, profile: CascadeProfile, stages: Stages
    ) -> BenchReport | None:
        """The newest benchmark of the profile, run on a few prompts of the reporting half where there is none.

        None where no prompt of that half leaves room for the tokens.
        """
        calibration_id = self._calibration_id(target, settings)
        reports = self.repository.bench_reports(profile.profile_id)
        if not reports:
            with stages.stage("bench") as progress:
                report = closing_bench(self.repository, calibration_id, target, suite, settings, profile, progress)
                if report is None:
                    self.repository.put_document(calibration_id, MIRRORED_BENCH, "none", {"mirrored": False})
                    return None
                reports = [self.repository.save_bench(profile.profile_id, report)]
        report_hash = reports[0].content_hash()
        if self.repository.get_document(calibration_id, MIRRORED_BENCH, report_hash) is None:
            known = CalibrationHistory.of_calibration(
                self.repository, calibration_id, profile, settings.model_dump(mode="json")
            )
            MLflowMirror(self.databases).mirror_bench(reports[0], known)
            self.repository.put_document(calibration_id, MIRRORED_BENCH, report_hash, {"mirrored": True})
        return reports[0]

    def _measured_before(self, target: TargetModel, settings: CalibrationSettings) -> str | None:
        defaults = {name: CalibrationSettings.model_fields[name].default for name in CASCADE_SETTINGS}
        usual = settings.model_copy(update=defaults)
        finished = self._finished(target, usual) if usual != settings else None
        return finished[0] if finished else None

    def _finished(self, target: TargetModel, settings: CalibrationSettings) -> tuple[str, CascadeProfile] | None:
        device, dumped = device_fingerprint(target.device), settings.model_dump(mode="json")
        return self.repository.finished_calibration(model_fingerprint(target), device, dtype_name(target), dumped)

    def _calibration_id(self, target: TargetModel, settings: CalibrationSettings, force: bool = False) -> str:
        """ID of the newest calibration of these inputs, begun where there is none."""
        device, dumped = device_fingerprint(target.device), settings.model_dump(mode="json")
        return self.repository.calibration(
            model_fingerprint(target), device, dtype_name(target), dumped, force=force
        ).calibration_id


def take_over(repository: Repository, source: str, calibration_id: str) -> None:
    """Copies what calibration `source` measured to calibration `calibration_id`, where it is not there yet."""
    for sample in repository.latency_samples(source):
        repository.save_latency_sample(calibration_id, sample)
    latency = repository.latency_model(source)
    if latency is not None:
        repository.save_latency_model(calibration_id, latency)
    for name, verdict in repository.documents(source, VERDICT_KIND).items():
        repository.put_document(calibration_id, VERDICT_KIND, name, verdict)
    for name, artifact in repository.documents(source, ARTIFACT_KIND).items():
        if name.startswith(RECORDING_PREFIX):
            repository.put_document(calibration_id, ARTIFACT_KIND, name, artifact)
    for candidate in repository.candidates(source):
        repository.save_candidate(calibration_id, candidate)
