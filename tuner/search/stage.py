"""The search of a calibration as a stage in the store, run by the process that calibrates and by any that join it.

All of them take the same view: the recordings, costs and precisions that the calibrating process wrote down when the
search began. It alone ends the search; then nobody takes another plan, and it goes on when the last are evaluated.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.loading.fingerprint import model_fingerprint
from casspec.runtime.model.quantization import extra_bytes
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import ProfileMismatch, StorageError, UnsupportedOption
from casspec.storage.leases import Lease, Leases
from casspec.storage.measurements import StoredCalibration
from casspec.storage.repository import Repository
from casspec.storage.schema import Document, DrafterCandidate, LatencyModel, Mode, Precision, Quantization
from casspec.tuner.external_databases import ExternalDatabases
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.stage import stored_recordings
from casspec.tuner.search.study import DrafterSearch, Progress, SearchBudget
from casspec.tuner.search.trial import CandidateEvaluator
from casspec.tuner.search.workers.processes import NOBODY, WorkerPool
from casspec.tuner.settings import CalibrationSettings

SEARCH_KIND = "search"
"""Stage documents: the basis of the search, how many candidates are another's, that it is closed (no plan may be taken),
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


@dataclass(frozen=True)
class SearchStage:
    """The search of one calibration; `calibration_id` is its ID in the store."""

    repository: Repository
    databases: ExternalDatabases
    calibration_id: str
    target: TargetModel
    settings: CalibrationSettings

    def run(
        self,
        recordings: Sequence[Recording],
        latency: LatencyModel,
        context_tokens: int,
        precisions: Sequence[Precision],
        progress: Progress,
        workers: WorkerPool = NOBODY,
    ) -> list[DrafterCandidate]:
        """All candidates: those stored, and where the search has not ended what it still finds, with the workers's help."""
        shared = StoredSearch(self.repository, self.calibration_id)
        if shared.ended():
            return self.repository.candidates(self.calibration_id)
        self.databases.make_room()
        searched = [recording for recording in recordings if recording.mode == self.settings.modes[0]]
        searched = searched[: self.settings.searched_prompts]
        names = tuple((recording.prompt_id, recording.mode) for recording in searched)
        basis = shared.begin(SearchBasis(recordings=names, context_tokens=context_tokens, precisions=tuple(precisions)))
        by_name = {(recording.prompt_id, recording.mode): recording for recording in recordings}
        spent = sum(candidate.seconds for candidate in shared.candidates()) / workers.size
        search = self._search(shared, basis, by_name, latency, progress, self.settings.seed, spent)
        with workers.at_work(self.calibration_id):
            search.run()
            search.close()
        candidates = self.repository.candidates(self.calibration_id)
        shared.end(len(candidates))
        return candidates

    def join(self, latency: LatencyModel, basis: SearchBasis, progress: Progress) -> int:
        """Takes part until the search is closed or a worker's budget is spent. How many candidates there are then."""
        shared, recordings = (
            StoredSearch(self.repository, self.calibration_id),
            stored_recordings(self.repository, self.calibration_id),
        )
        # A seed of its own: workers with the same one would keep proposing the same plans.
        seed = int.from_bytes(os.urandom(4), "little")
        return len(self._search(shared, basis, recordings, latency, progress, seed).run())

    def _search(
        self,
        shared: StoredSearch,
        basis: SearchBasis,
        recordings: Mapping[tuple[str, Mode], Recording],
        latency: LatencyModel,
        progress: Progress,
        seed: int,
        spent_seconds: float = 0.0,
    ) -> DrafterSearch:
        settings = self.settings
        quantizations = [self._prepared(precision) for precision in basis.precisions]
        return DrafterSearch(
            CandidateEvaluator(
                self.target,
                AcceptanceMeter(self.target, [recordings[name] for name in basis.recordings], settings.seed),
                LatencyPredictor(latency),
                basis.context_tokens,
                quantizations,
            ),
            self.target.n_layers,
            SearchBudget(settings.trials, settings.search_seconds, settings.patience, spent_seconds),
            shared.candidates(),
            shared.save,
            self.databases.study_url,
            self.calibration_id,
            seed,
            [(seed.name, seed.skip) for seed in self.repository.seeds(self.target.n_layers)],
            progress,
            shared=shared,
            taken_over=shared.taken_over(),
        )

    def _prepared(self, precision: Precision) -> Quantization:
        """A precision with its memory, its weights packed: no trial is to be charged for that."""
        self.target.prepare(precision)
        return Quantization(precision=precision, extra_bytes=extra_bytes(self.target.weights, precision))


def searches(settings: Mapping[str, Any]) -> bool:
    """Whether a calibration with these settings searches drafters: latencies alone may be measured, or methods tuned."""
    return "trials" in settings and "tuned_methods" not in settings


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
            f"calibration {calibration.calibration_id} searches no drafters: join one that `casspec calibrate` began"
        )
    shared, calibration_id = StoredSearch(repository, calibration.calibration_id), calibration.calibration_id
    if shared.closed():
        return None
    basis, latency = shared.basis(), repository.latency_model(calibration_id)
    if basis is None or latency is None:
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
    before = len(shared.candidates())
    return before, SearchStage(repository, databases, calibration_id, target, settings).join(latency, basis, progress)
