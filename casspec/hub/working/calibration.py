"""What a job runs: the calibration that `casspec calibrate` runs, with the same settings, so that either goes on from the other."""

from __future__ import annotations

from typing import Any

import casspec
from casspec.hub.allowed import AllowedModels
from casspec.hub.suites import kept_suite
from casspec.hub.working.worker import JobStages
from casspec.runtime.loading.profile_check import compare_profile
from casspec.runtime.loading.profiles import LoadedProfile
from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.chat import has_chat_template
from casspec.storage.errors import SuiteError
from casspec.storage.jobs.documents import Job, JobRequest
from casspec.storage.repository import Repository
from casspec.storage.schema import RECYCLING_MATRIX
from casspec.tuner.calibration.attempt import begin, finished, reuse_measurements
from casspec.tuner.calibration.calibrate import STAGES, calibrate
from casspec.tuner.calibration.closing_bench import bench
from casspec.tuner.calibration.forecast import forecast
from casspec.tuner.external_databases import external_databases
from casspec.tuner.settings import QUICK, CalibrationSettings
from casspec.tuner.suites.load import BUILT_IN, default_suite, load_suite
from casspec.tuner.suites.prompts import Suite


class JobCalibration:
    """Calibrates on one device.

    Args:
        device: cpu, cuda or cuda:N. storage: of the repository, for the databases beside it.
    """

    def __init__(self, device: str, allowed: AllowedModels, storage: str | None = None) -> None:
        self._device, self._allowed, self._storage = device, allowed, storage

    def __call__(self, repository: Repository, job: Job, stages: JobStages) -> str:
        """Content hash of the profile. What is stored of this calibration is not measured again.

        Raises what calibrating raises, UnsupportedOption for a model that is not allowed.
        """
        asked = job.request
        place = self._allowed.located(asked.model)
        target = casspec.load_target(place, device=self._device, dtype=asked.dtype, backend=asked.backend)
        suite_name, suite = _suite(repository, asked, has_chat_template(target.tokenizer))
        settings = settings_of(asked, suite_name, suite)
        against = None if asked.against is None else _stored(repository, asked.against, target)
        force = asked.force and not job.progress.stage  # otherwise the attempt that was begun goes on
        done = None if force else finished(repository, target, settings)
        context = begin(repository, external_databases(self._storage), target, suite, settings, force)
        wants_bench = against is not None or (not asked.quick if asked.bench is None else asked.bench)
        stages.plan((*STAGES, "bench") if wants_bench else STAGES, None if done else forecast(target, settings).seconds)
        if not done and not force:
            reuse_measurements(context)
        profile = done[1] if done else calibrate(context, stages)
        if wants_bench:
            bench(context, profile, stages, against)
        return profile.content_hash()


def _stored(repository: Repository, profile_hash: str, target: TargetModel) -> LoadedProfile:
    """A profile to race with. Raises ProfileNotFound, and ProfileMismatch for one of another model or device."""
    profile = repository.profile(profile_hash)
    compare_profile(profile, target)
    matrix = next((one.sha256 for one in profile.artifacts if one.name == RECYCLING_MATRIX), None)
    return LoadedProfile(profile, repository.artifact(matrix) if matrix else None)


def settings_of(asked: JobRequest, suite_name: str, suite: Suite) -> CalibrationSettings:
    """Of a calibration as it was asked for."""
    settings = CalibrationSettings(suite=suite_name, suite_sha256=suite.content_hash(), seed=asked.seed)
    values: dict[str, dict[str, Any]] = {
        "profile": {"max_batch": asked.max_batch},
        "record": {"turns": asked.turns, "long": asked.long},
        "search": {"trials": asked.trials, "seconds": asked.seconds},
        "cascade": {
            "max_drafters": asked.max_drafters,
            "max_extra_bytes": asked.max_extra_bytes,
            "per_task": asked.per_task,
        },
    }
    changes = {
        stage: {name: value for name, value in named.items() if value is not None} for stage, named in values.items()
    }
    return (settings.changed(QUICK) if asked.quick else settings).changed(changes)


def _suite(repository: Repository, asked: JobRequest, is_chat: bool) -> tuple[str, Suite]:
    """Name and prompts. Raises SuiteError for a name that is not built in: jobs name no files."""
    if asked.suite_sha256 is not None:
        return kept_suite(repository, asked.suite_sha256)
    name = asked.suite or default_suite(is_chat)
    check_suite_name(name)
    return name, load_suite(name)


def check_suite_name(name: str) -> None:
    """Raises SuiteError for a suite that is not built in."""
    if name not in BUILT_IN:
        raise SuiteError(
            f"no suite '{name}' here: expected {' or '.join(sorted(BUILT_IN))}, or prompts sent with the job"
        )
