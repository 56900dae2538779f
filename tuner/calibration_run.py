"""The stages of a calibration after its latencies and recordings are there: search, cascade and profile, mirror.

Each looks in the store for what an earlier run left and adds what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import mean
from typing import Protocol

from casspec.profiler.stored import with_ceilings
from casspec.runtime.fingerprint import device_fingerprint, model_fingerprint
from casspec.runtime.latency import LatencyPredictor
from casspec.runtime.quantization import extra_bytes
from casspec.runtime.target import TargetModel
from casspec.storage.repository import Repository
from casspec.storage.schema import (
    AcceptancePrior,
    CascadeProfile,
    DrafterCandidate,
    LatencyModel,
    MethodSettings,
    Precision,
    Quantization,
)
from casspec.tuner.acceptance import BLOCK, AcceptanceMeter
from casspec.tuner.cascade import (
    Cascade,
    Contender,
    Costs,
    choose_cascade,
    contenders,
    lookup_survival,
    measure_contender,
)
from casspec.tuner.companions import Companions
from casspec.tuner.entries import CASCADE
from casspec.tuner.evaluation import CandidateEvaluator
from casspec.tuner.method_tuning import TunedMethods, Tuning
from casspec.tuner.plans import PlanSpec
from casspec.tuner.prompts import Suite
from casspec.tuner.recordings import Recording, recycling_matrix
from casspec.tuner.selection import Selection, select_cascade
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.study import DrafterSearch, SearchBudget

MATRIX_NAME = "recycling-matrix"
CONTENDER_KIND = "contender"
TUNED_KIND = "tuned-methods"
SELECTION_KIND = "selection"
SEARCH_KIND = "search"


class Bar(Protocol):
    """Progress of a stage."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None: ...


class Stages(Protocol):
    """Shows the stages of a run; `casspec.cli.console.progress` gives one."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Bar]: ...


TuneMethods = Callable[[TargetModel, Sequence[Recording], LatencyModel, Callable[[int, int, str], None]], TunedMethods]
"""Tunes the methods by replay: (target, recordings, latency, progress)."""


def dtype_name(target: TargetModel) -> str:
    return str(target.dtype).removeprefix("torch.")


@dataclass(frozen=True)
class CalibrationRun:
    """One calibration under way; `key` is its ID in the store."""

    repository: Repository
    places: Companions
    tune_methods: TuneMethods
    key: str
    target: TargetModel
    suite: Suite
    settings: CalibrationSettings

    def search(
        self,
        recordings: Sequence[Recording],
        latency: LatencyModel,
        bar: Bar,
        offered: Sequence[Precision] = (),
    ) -> list[DrafterCandidate]:
        """`offered`: precisions besides the target's own that are worth searching."""
        if self.repository.get_document(self.key, SEARCH_KIND, "ended") is not None:
            return self.repository.candidates(self.key)
        self.places.make_room()
        settings = self.settings
        searched = [recording for recording in recordings if recording.mode == settings.modes[0]]
        meter = AcceptanceMeter(self.target, searched[: settings.searched_prompts], settings.seed)
        context_tokens = typical_context(recordings)
        quantizations = [self._quantization(precision) for precision in offered]
        evaluator = CandidateEvaluator(self.target, meter, LatencyPredictor(latency), context_tokens, quantizations)
        search = DrafterSearch(
            evaluator,
            self.target.n_layers,
            SearchBudget(settings.trials, settings.search_seconds, settings.patience),
            self.repository.candidates(self.key),
            lambda candidate: self.repository.save_candidate(self.key, candidate),
            self.places.study_url,
            self.key,
            settings.seed,
            [(seed.name, seed.skip) for seed in self.repository.seeds(self.target.n_layers)],
            lambda done, note: bar.update(done, settings.trials, note),
        )
        search.run()
        candidates = self.repository.candidates(self.key)
        self.repository.put_document(self.key, SEARCH_KIND, "ended", {"candidates": len(candidates)})
        return candidates

    def _quantization(self, precision: Precision) -> Quantization:
        """A precision with its memory, its weights packed: no trial is to be charged for that."""
        self.target.prepare(precision)
        return Quantization(precision=precision, extra_bytes=extra_bytes(self.target, precision))

    def profile(
        self,
        recordings: Sequence[Recording],
        latency: LatencyModel,
        candidates: Sequence[DrafterCandidate],
        bar: Bar,
    ) -> CascadeProfile:
        """The profile, put together from measured contenders and replayed methods, and saved."""
        costs = Costs(self.target, LatencyPredictor(latency), typical_context(recordings))
        lookup = lookup_survival(recordings)
        meter = AcceptanceMeter(self.target, recordings, self.settings.seed)
        measured = self._contenders(meter, contenders(candidates, lookup, costs, BLOCK), bar)
        tuned = self._tuned(recordings, latency, bar)
        selection = self._selection(meter, latency, tuned, measured, bar)
        cascade = choose_cascade(measured, selection.drafters, selection.predicted_speedup, lookup, costs)
        matrix = recycling_matrix(recordings, self.target.vocab_size)
        artifact = self.repository.save_artifact(MATRIX_NAME, matrix.to_bytes(), self.key)
        device = with_ceilings(self.repository, device_fingerprint(self.target.device), self.target)
        profile = CascadeProfile(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            casspec_version=version("casspec"),
            model=model_fingerprint(self.target),
            device=device,
            dtype=dtype_name(self.target),
            drafters=cascade.drafters,
            latency=latency,
            acceptance=_priors(tuned, cascade),
            methods=_methods(tuned, selection) + cascade.methods,
            artifacts=(artifact,),
            predicted_speedup={str(mode): value for mode, value in selection.predicted_speedup.items()},
            decision=cascade.decision,
            suite=self.suite.name,
            seed=self.settings.seed,
        )
        return self.repository.save_profile(self.key, profile)

    def track(self, profile: CascadeProfile, candidates: Sequence[DrafterCandidate], bar: Bar) -> None:
        from casspec.tuner.tracking import Calibrated, Tracker

        calibrated = Calibrated(
            calibration_id=self.key,
            name=f"{profile.model.name} on {profile.device.name}, {profile.dtype}",
            settings=self.settings.model_dump(mode="json"),
            candidates=candidates,
            samples=self.repository.latency_samples(self.key),
            profile=profile,
        )
        Tracker(self.places).mirror(calibrated, bar.update)

    def _contenders(self, meter: AcceptanceMeter, chosen: Sequence[DrafterCandidate], bar: Bar) -> list[Contender]:
        measured = []
        for done, candidate in enumerate(chosen):
            name = PlanSpec.of(candidate).name
            bar.update(done, len(chosen) + 1, name)
            document = self.repository.get_document(self.key, CONTENDER_KIND, name)
            if document is None:
                contender = measure_contender(meter, candidate, self.target.n_layers)
                document = self.repository.put_document(
                    self.key, CONTENDER_KIND, name, contender.model_dump(mode="json")
                )
            measured.append(Contender.model_validate(document))
        return measured

    def _tuned(self, recordings: Sequence[Recording], latency: LatencyModel, bar: Bar) -> TunedMethods:
        document = self.repository.get_document(self.key, TUNED_KIND, "all")
        if document is None:
            tuned = self.tune_methods(self.target, recordings, latency, bar.update)
            document = self.repository.put_document(self.key, TUNED_KIND, "all", tuned.to_json())
        return TunedMethods.from_json(document)

    def _selection(
        self,
        meter: AcceptanceMeter,
        latency: LatencyModel,
        tuned: TunedMethods,
        measured: Sequence[Contender],
        bar: Bar,
    ) -> Selection:
        document = self.repository.get_document(self.key, SELECTION_KIND, "all")
        if document is None:
            selection = select_cascade(
                Tuning.of(self.target, meter.recordings, latency, tuned.priors),
                measured,
                meter,
                tuned.settings(CASCADE),
                self.target.n_layers,
                lambda note: bar.update(len(measured), len(measured) + 1, note),
            )
            document = self.repository.put_document(self.key, SELECTION_KIND, "all", selection.model_dump(mode="json"))
        return Selection.model_validate(document)


def typical_context(recordings: Sequence[Recording]) -> int:
    """Committed rows halfway through a recording, on average: where costs are compared."""
    return round(mean(len(r.prompt_tokens) + len(r.continuation_tokens) / 2 for r in recordings))


def _methods(tuned: TunedMethods, selection: Selection) -> tuple[MethodSettings, ...]:
    """As replayed, dytc as it replays with the chosen drafters."""
    return tuple(
        entry.model_copy(update={"parameters": selection.parameters}) if entry.method == CASCADE else entry
        for entry in tuned.methods
    )


def _priors(tuned: TunedMethods, cascade: Cascade) -> tuple[AcceptancePrior, ...]:
    """Replayed priors of the retrieval drafters with the measured cells of the self-drafters."""
    modes = dict.fromkeys([prior.mode for prior in tuned.priors] + list(cascade.cells))
    return tuple(
        AcceptancePrior(
            mode=mode,
            cells=tuple(cell for prior in tuned.priors if prior.mode == mode for cell in prior.cells)
            + tuple(cascade.cells.get(mode, ())),
        )
        for mode in modes
    )
