"""The search of a calibration as a stage in the store, run by the process that calibrates and by any that join it.

All of them take the same view: the recordings, costs and precisions that the calibrating process wrote down when the
search began. It alone ends the search; then nobody takes another plan, and it goes on when the last are evaluated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from casspec.profiler.progress import Progress, Tell, untold
from casspec.profiler.stored import offered
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import ProfileMismatch, StorageError, UnsupportedOption
from casspec.storage.leases import Lease, Leases
from casspec.storage.measurements import StoredCalibration
from casspec.storage.repository import Repository
from casspec.storage.schema import Document, DrafterCandidate, LatencyModel, Mode, Precision, Quantization
from casspec.tuner.context import CalibrationContext, SearchContext
from casspec.tuner.external_databases import ExternalDatabases
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.recordings.recording import Recording, typical_context
from casspec.tuner.recordings.stage import stored_recordings
from casspec.tuner.search.budget import ForwardSeconds, SearchPlan, plan_search
from casspec.tuner.search.space import affordable
from casspec.tuner.search.study import DrafterSearch, SearchBudget
from casspec.tuner.search.trial import CandidateEvaluator
from casspec.tuner.search.workers.processes import NOBODY, WorkerPool
from casspec.tuner.settings import CalibrationSettings, is_by_stage

SEARCH_KIND = "search"
"""Stage documents: the basis of the search, what it may take, how many candidates are another's, that it is closed (no plan may be taken),
that it has ended.
"""


class SearchBasis(Document):
    """What plans are evaluated on, the same for all workers."""

    recordings: tuple[tuple[str, Mode], ...]
    """Prompt and mode, in the order they are raced."""
    context_tokens: int
    """At which costs are compared."""
    precisions: tuple[Precision, ...]
    """Searched besides the target's own."""


class StoredSearch:
    """What the workers on a search share through the store."""

    def __init__(self, repository: Repository, calibration_id: str) -> None:
        self._repository = repository
        self._id = calibration_id
        self.leases: Leases | None = repository.leases
        self._known: list[DrafterCandidate] = []

    def begin(self, basis: SearchBasis) -> SearchBasis:
        """Writes down what the search begins with; where it began before, what it began with then."""
        self.note_taken_over(len(self.candidates()))
        kept = self._repository.put_document(self._id, SEARCH_KIND, "basis", basis.model_dump(mode="json"))
        return SearchBasis.model_validate(kept)

    def note_taken_over(self, n_candidates: int) -> None:
        """Writes down, once, that the first so many candidates are another search's, which this one goes beyond."""
        self._repository.put_document(self._id, SEARCH_KIND, "taken-over", n_candidates)

    def taken_over(self) -> int:
        return self._repository.get_document(self._id, SEARCH_KIND, "taken-over") or 0

    def basis(self) -> SearchBasis | None:
        """What the search began with; None when it has not begun."""
        document = self._repository.get_document(self._id, SEARCH_KIND, "basis")
        return None if document is None else SearchBasis.model_validate(document)

    def allow(self, plan: SearchPlan) -> SearchPlan:
        """Writes down what the search may take; where that is decided, what was decided then."""
        return SearchPlan.model_validate(
            self._repository.put_document(self._id, SEARCH_KIND, "plan", plan.model_dump(mode="json"))
        )

    def plan(self) -> SearchPlan | None:
        """What the search may take; None when it has not begun."""
        document = self._repository.get_document(self._id, SEARCH_KIND, "plan")
        return None if document is None else SearchPlan.model_validate(document)

    def candidates(self) -> Sequence[DrafterCandidate]:
        if self._repository.count_candidates(self._id) != len(self._known):
            self._known = self._repository.candidates(self._id)
        return self._known

    def save(self, candidate: DrafterCandidate, lease: Lease | None = None) -> DrafterCandidate | None:
        """None where the search has ended. Raises LeaseLost: a worker that was taken for dead and wakes up changes nothing any more."""
        return None if self.ended() else self._repository.save_candidate(self._id, candidate, lease)

    def alone(self) -> AbstractContextManager[None]:
        return self._repository.alone()

    def close(self) -> None:
        self._repository.put_document(self._id, SEARCH_KIND, "closed", True)

    def closed(self) -> bool:
        return self._repository.get_document(self._id, SEARCH_KIND, "closed") is not None

    def end(self, n_candidates: int) -> None:
        self._repository.put_document(self._id, SEARCH_KIND, "ended", {"candidates": n_candidates})

    def ended(self) -> bool:
        return self._repository.get_document(self._id, SEARCH_KIND, "ended") is not None


def search(
    context: CalibrationContext,
    recordings: Sequence[Recording],
    latency: LatencyModel,
    progress: Progress,
    workers: WorkerPool = NOBODY,
    tell: Tell = untold,
) -> list[DrafterCandidate]:
    """All candidates: those stored, and where the search has not ended what it still finds, with the workers' help.

    `tell` is told in a line what it may take, before it does.
    """
    repository, calibration_id, asked = context.repository, context.calibration_id, context.settings.search
    shared = StoredSearch(repository, calibration_id)
    if shared.ended():
        return repository.candidates(calibration_id)
    context.databases.make_room()
    searched = [recording for recording in recordings if recording.mode == context.settings.record.modes[0]]
    most_bytes, n_layers = context.settings.cascade.max_extra_bytes, context.target.n_layers
    precisions = tuple(one.precision for one in offered(repository, calibration_id) if affordable(one, most_bytes))
    scored, context_tokens = searched[: asked.recordings], typical_context(recordings)
    n_tokens = max(len(one.continuation_tokens) for one in scored)
    forward = ForwardSeconds.of(LatencyPredictor(latency), n_layers, n_tokens, context_tokens)
    timed_s = sum(sum(one.measurement.values) for one in repository.latency_samples(calibration_id)) / 1e3
    plan = shared.allow(plan_search(context.settings, n_layers, len(precisions), len(scored), forward, timed_s))
    basis = shared.begin(
        SearchBasis(
            recordings=tuple((one.prompt_id, one.mode) for one in scored),
            context_tokens=context_tokens,
            precisions=precisions,
        )
    )
    tell(plan.told())
    by_name = {(recording.prompt_id, recording.mode): recording for recording in recordings}
    spent = sum(candidate.seconds for candidate in shared.candidates()) / workers.size
    study = _study(context, shared, basis, plan, by_name, latency, progress, context.settings.seed, spent)
    with workers.at_work(calibration_id):
        study.run()
        study.close()
    candidates = repository.candidates(calibration_id)
    shared.end(len(candidates))
    return candidates


def _study(
    context: SearchContext,
    shared: StoredSearch,
    basis: SearchBasis,
    plan: SearchPlan,
    recordings: Mapping[tuple[str, Mode], Recording],
    latency: LatencyModel,
    progress: Progress,
    seed: int,
    spent_seconds: float = 0.0,
) -> DrafterSearch:
    target, settings = context.target, context.settings
    return DrafterSearch(
        CandidateEvaluator(
            target,
            AcceptanceMeter(target, [recordings[name] for name in basis.recordings], settings.seed),
            LatencyPredictor(latency),
            basis.context_tokens,
            [_prepared(target, precision) for precision in basis.precisions],
        ),
        target.n_layers,
        SearchBudget(
            plan.trials,
            plan.seconds,
            settings.search.patience,
            spent_seconds,
            plan.sensitivity_recordings,
            plan.finishes_starting_plans,
        ),
        shared.candidates(),
        shared.save,
        context.databases.study_url,
        context.calibration_id,
        seed,
        [(start.name, start.skip) for start in context.repository.starting_plans(target.n_layers)],
        progress,
        shared=shared,
        taken_over=shared.taken_over(),
    )


def _prepared(target: TargetModel, precision: Precision) -> Quantization:
    """A precision with its memory, its weights packed: no trial is to be charged for that."""
    target.prepare(precision)
    return Quantization(precision=precision, extra_bytes=target.extra_bytes(precision))


def searches(settings: Mapping[str, Any]) -> bool:
    """Whether a calibration with these settings searches drafters: latencies alone may be measured, or methods tuned."""
    return is_by_stage(settings) and "tune" not in settings


def joined(
    repository: Repository,
    databases: ExternalDatabases,
    calibration: StoredCalibration,
    load: Callable[[], TargetModel],
    progress: Progress,
) -> tuple[int, int] | None:
    """Takes part in the search of a calibration that another process runs.

    Args:
        load: loads the calibrated model, in the calibration's dtype.

    Returns:
        Candidates before and after; None when the search is over.

    Raises:
        StorageError: the search has not begun. ProfileMismatch: another model. UnsupportedOption: there is no search in it.
    """
    if not searches(calibration.settings):
        raise UnsupportedOption(
            f"calibration {calibration.calibration_id} searches no drafters, or an earlier release began it: "
            "join one that `casspec calibrate` began"
        )
    shared, calibration_id = StoredSearch(repository, calibration.calibration_id), calibration.calibration_id
    if shared.closed():
        return None
    basis, plan, latency = shared.basis(), shared.plan(), repository.latency_model(calibration_id)
    if basis is None or plan is None or latency is None:
        raise StorageError(
            f"calibration {calibration_id} has not come to its search yet: join it when its stage 'search' begins"
        )
    target = load()
    if model_fingerprint(target).content_hash() != calibration.model.content_hash():
        raise ProfileMismatch(
            f"calibration {calibration_id} is of '{calibration.model.name}', and '{target.name}' is another model: "
            "name the one that is calibrated with --model"
        )
    settings = CalibrationSettings.of_stored(calibration.settings)
    before, recordings = len(shared.candidates()), stored_recordings(repository, calibration_id)
    # A seed of its own: workers with the same one would keep proposing the same plans.
    seed = int.from_bytes(os.urandom(4), "little")
    joining = SearchContext(repository, databases, calibration_id, target, settings)
    return before, len(_study(joining, shared, basis, plan, recordings, latency, progress, seed).run())
