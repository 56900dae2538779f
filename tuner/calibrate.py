"""A calibration from end to end: profile, record, search, choose the cascade, save the profile, mirror it.

Every stage leaves its outcome in the store as it goes and looks there first, so that a run that was interrupted or
killed anywhere goes on from there and ends with the same rows as an uninterrupted one. A finished calibration answers
from the store without measuring anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from statistics import mean
from typing import Protocol

from casspec.profiler.stored import profile_stored, with_ceilings
from casspec.runtime.fingerprint import device_fingerprint, model_fingerprint
from casspec.runtime.latency import LatencyPredictor
from casspec.runtime.target import TargetModel
from casspec.storage.repository import Repository
from casspec.storage.schema import (
    AcceptancePrior,
    CascadeProfile,
    DrafterCandidate,
    LatencyModel,
)
from casspec.tuner.acceptance import BLOCK, AcceptanceMeter
from casspec.tuner.cascade import (
    Cascade,
    Contender,
    Costs,
    choose_cascade,
    contenders,
    drafter_name,
    lookup_survival,
    measure_contender,
)
from casspec.tuner.companions import Companions
from casspec.tuner.evaluation import CandidateEvaluator
from casspec.tuner.method_tuning import TunedMethods, tune_methods
from casspec.tuner.prompts import Suite
from casspec.tuner.recorder import record_suite
from casspec.tuner.recordings import Recording, recycling_matrix
from casspec.tuner.settings import CalibrationSettings
from casspec.tuner.study import DrafterSearch, SearchBudget

STAGES = ("profile", "record", "search", "cascade", "track")

MATRIX_NAME = "recycling-matrix"
CONTENDER_KIND = "contender"
TUNED_KIND = "tuned-methods"
SEARCH_KIND = "search"


class Bar(Protocol):
    """Progress of a stage."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None: ...


class Stages(Protocol):
    """Shows the stages of a run; `casspec.cli.console.progress` gives one."""

    def stage(self, name: str, total: int | None = None) -> AbstractContextManager[Bar]: ...


TuneMethods = Callable[[TargetModel, Sequence[Recording], LatencyModel, Callable[[int, int, str], None]], TunedMethods]
"""Tunes the methods by replay: (target, recordings, latency, progress)."""


@dataclass(frozen=True)
class Calibrator:
    """All a calibration needs besides what it calibrates on."""

    repository: Repository
    places: Companions
    tune_methods: TuneMethods = tune_methods

    def stored(self, target: TargetModel, settings: CalibrationSettings) -> CascadeProfile | None:
        """The profile of a finished calibration with these settings."""
        device = device_fingerprint(target.device)
        dumped = settings.model_dump(mode="json")
        return self.repository.finished_profile(model_fingerprint(target), device, dtype_name(target), dumped)

    def run(
        self, target: TargetModel, suite: Suite, settings: CalibrationSettings, stages: Stages, force: bool = False
    ) -> CascadeProfile:
        """Runs or resumes the calibration of these inputs and returns its profile.

        Args:
            force: start a new attempt although a finished one is stored.

        Raises:
            UnsupportedModel: a model without a tokenizer; SuiteError: prompts that do not fit its context.
        """
        device = device_fingerprint(target.device)
        calibration = self.repository.calibration(
            model_fingerprint(target), device, dtype_name(target), settings.model_dump(mode="json"), force=force
        )
        run = _Run(self, calibration.calibration_id, target, suite, settings)
        with stages.stage("profile") as bar:
            latency = profile_stored(
                self.repository, run.key, target, device, bar.update, settings.profile_seconds, settings.seed
            )
        with stages.stage("record") as bar:
            recordings = record_suite(self.repository, run.key, target, suite, settings, bar.update)
        with stages.stage("search", settings.trials) as bar:
            candidates = run.search(recordings, latency, bar)
        with stages.stage("cascade") as bar:
            profile = run.profile(recordings, latency, candidates, bar)
        with stages.stage("track") as bar:
            run.track(profile, candidates, bar)
        self.repository.finish(run.key)
        return profile


def dtype_name(target: TargetModel) -> str:
    return str(target.dtype).removeprefix("torch.")


@dataclass(frozen=True)
class _Run:
    """The stages of one calibration after its latencies and recordings."""

    calibrator: Calibrator
    key: str
    target: TargetModel
    suite: Suite
    settings: CalibrationSettings

    @property
    def repository(self) -> Repository:
        return self.calibrator.repository

    def search(self, recordings: Sequence[Recording], latency: LatencyModel, bar: Bar) -> list[DrafterCandidate]:
        if self.repository.get_document(self.key, SEARCH_KIND, "ended") is not None:
            return self.repository.candidates(self.key)
        settings = self.settings
        searched = [recording for recording in recordings if recording.mode == settings.modes[0]]
        meter = AcceptanceMeter(self.target, searched[: settings.searched_prompts], settings.seed)
        evaluator = CandidateEvaluator(self.target, meter, LatencyPredictor(latency), typical_context(recordings))
        search = DrafterSearch(
            evaluator,
            self.target.n_layers,
            SearchBudget(settings.trials, settings.search_seconds, settings.patience),
            self.repository.candidates(self.key),
            lambda candidate: self.repository.save_candidate(self.key, candidate),
            self.calibrator.places.study_url,
            self.key,
            settings.seed,
            [(seed.name, seed.skip) for seed in self.repository.seeds(self.target.n_layers)],
            lambda done, note: bar.update(done, settings.trials, note),
        )
        search.run()
        candidates = self.repository.candidates(self.key)
        self.repository.put_document(self.key, SEARCH_KIND, "ended", {"candidates": len(candidates)})
        return candidates

    def profile(
        self,
        recordings: Sequence[Recording],
        latency: LatencyModel,
        candidates: Sequence[DrafterCandidate],
        bar: Bar,
    ) -> CascadeProfile:
        """The profile, put together from measured contenders and replayed methods, and saved."""
        costs = Costs(self.target, LatencyPredictor(latency), typical_context(recordings))
        measured = self._contenders(recordings, contenders(candidates, costs, BLOCK), bar)
        tuned = self._tuned(recordings, latency, bar)
        cascade = choose_cascade(measured, lookup_survival(recordings), costs, tuned.predicted_speedup)
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
            methods=tuned.methods + cascade.methods,
            artifacts=(artifact,),
            predicted_speedup=tuned.predicted_speedup,
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
        Tracker(self.calibrator.places).mirror(calibrated, bar.update)

    def _contenders(
        self, recordings: Sequence[Recording], chosen: Sequence[DrafterCandidate], bar: Bar
    ) -> list[Contender]:
        meter = AcceptanceMeter(self.target, recordings, self.settings.seed)
        measured = []
        for done, candidate in enumerate(chosen):
            name = drafter_name(candidate.skip)
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
            tuned = self.calibrator.tune_methods(self.target, recordings, latency, bar.update)
            document = self.repository.put_document(self.key, TUNED_KIND, "all", tuned.to_json())
        return TunedMethods.from_json(document)


def typical_context(recordings: Sequence[Recording]) -> int:
    """Committed rows halfway through a recording, on average: where costs are compared."""
    return round(mean(len(r.prompt_tokens) + len(r.continuation_tokens) / 2 for r in recordings))


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
