"""Which calibration of the store is meant: a finished one, the one under way, or a new one that takes measurements over."""

from __future__ import annotations

from casspec.runtime.loading.device import device_fingerprint
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.target import TargetModel
from casspec.storage.measurements import VERDICT_KIND
from casspec.storage.repository import ARTIFACT_KIND, Repository
from casspec.storage.schema import CascadeProfile
from casspec.tuner.context import CalibrationContext
from casspec.tuner.external_databases import ExternalDatabases
from casspec.tuner.recordings.stage import RECORDING_PREFIX
from casspec.tuner.search.stage import StoredSearch
from casspec.tuner.settings import CalibrationSettings, unchanged_choice
from casspec.tuner.suites.prompts import Suite, without_refused


def begin(
    repository: Repository,
    databases: ExternalDatabases,
    target: TargetModel,
    suite: Suite,
    settings: CalibrationSettings,
    force: bool = False,
) -> CalibrationContext:
    """The newest calibration of these inputs, begun where there is none; its suite is without what the model's template refuses.

    Args:
        force: begin a new attempt although there is one.
    """
    settings, taken = of_target(settings, target), without_refused(suite, target.tokenizer)
    calibration = repository.calibration(
        model_fingerprint(target),
        device_fingerprint(target.device),
        target.dtype_name,
        settings.stored(),
        force=force,
    )
    return CalibrationContext(repository, databases, calibration.calibration_id, target, settings, taken)


def of_target(settings: CalibrationSettings, target: TargetModel) -> CalibrationSettings:
    """The settings with what the target's forwards run on, and how."""
    return settings.model_copy(update={"backend": target.backend, "forwards": target.forwards})


def finished(
    repository: Repository, target: TargetModel, settings: CalibrationSettings
) -> tuple[str, CascadeProfile] | None:
    """ID and profile of a finished calibration with these settings."""
    device, dumped = device_fingerprint(target.device), of_target(settings, target).stored()
    return repository.finished_calibration(model_fingerprint(target), device, target.dtype_name, dumped)


def reuse_measurements(context: CalibrationContext) -> None:
    """Takes over what a finished calibration measured that differs in nothing but the choice of the cascade.

    Its search is then this one's. Nothing where there is none.
    """
    usual = unchanged_choice(context.settings)
    found = finished(context.repository, context.target, usual) if usual != context.settings else None
    if found is not None:
        source, repository = found[0], context.repository
        StoredSearch(repository, context.calibration_id).note_taken_over(StoredSearch(repository, source).taken_over())
        take_over(repository, source, context.calibration_id)


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
