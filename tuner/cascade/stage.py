"""The stage of a calibration that chooses the cascade: contenders measured, methods tuned, the cascade replayed.

Every outcome is kept in the store as it is found, and looked up there first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean

from casspec.profiler.progress import Progress, Tell, untold
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.target import TargetModel
from casspec.storage.repository import Repository
from casspec.storage.schema import CASCADE, DrafterCandidate, LatencyModel, Quantization
from casspec.tuner.cascade.contenders import (
    Cascade,
    Contender,
    Costs,
    choose_cascade,
    contenders,
    lookup_survival,
    measure_contender,
    trace,
)
from casspec.tuner.cascade.forecast import Selection, by_batch, forecast
from casspec.tuner.cascade.per_task import TaskVerdict, as_served, judge_task
from casspec.tuner.cascade.replay import CascadeReplay, Parameters
from casspec.tuner.cascade.selection import Limits, choose
from casspec.tuner.methods.by_replay import TunedMethods, Tuning
from casspec.tuner.recordings.offline_acceptance import BLOCK, AcceptanceMeter
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import TracedPlan, Traces
from casspec.tuner.replay.overhead import Overheads, stored_overheads
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.settings import CalibrationSettings

CONTENDER_KIND = "contender"
TUNED_KIND = "tuned-methods"
SELECTION_KIND = "selection"
TASK_KIND = "task-cascade"
SERVED_KIND = "served-tasks"
"""The selection with speedups as tasks are served, where some have a cascade of their own."""


TuneMethods = Callable[[TargetModel, Sequence[Recording], LatencyModel, Overheads, Progress], TunedMethods]
"""Tunes the methods by replay: (target, recordings, latency, overheads, progress)."""

CASCADE_PROBED_RECORDINGS = 2
"""Of each decoding mode, for what steps take beside their forwards."""


@dataclass(frozen=True)
class Chosen:
    """VerifyResult of the stage; `tasks` by name, {} where it was not asked whether they deserve a cascade of their own."""

    cascade: Cascade
    selection: Selection
    tuned: TunedMethods
    tasks: dict[str, TaskVerdict]

    @property
    def predicted_by_task(self) -> dict[str, dict[str, float]]:
        """Speedups by decoding mode and task, each with the cascade that serves the task."""
        own = {task: verdict.own.predicted_speedup for task, verdict in self.tasks.items() if verdict.own}
        return {
            mode: {task: own.get(task, {}).get(mode, speedup) for task, speedup in tasks.items()}
            for mode, tasks in self.selection.predicted_by_task.items()
        }


@dataclass(frozen=True)
class CascadeStage:
    """The stage for one calibration; `calibration_id` is its ID in the store."""

    repository: Repository
    calibration_id: str
    target: TargetModel
    settings: CalibrationSettings
    tune_methods: TuneMethods

    def run(
        self,
        recordings: Sequence[Recording],
        latency: LatencyModel,
        candidates: Sequence[DrafterCandidate],
        progress: Progress,
    ) -> Chosen:
        """From the candidates of the search to the drafters of the profile."""
        costs = Costs(self.target, LatencyPredictor(latency), typical_context(recordings))
        lookup = lookup_survival(recordings)
        fitting = [one for one in candidates if affordable(one.quantization, self.settings.max_extra_bytes)]
        traced = _Traced(AcceptanceMeter(self.target, recordings, self.settings.seed), self.target.n_layers)
        measured = self._contenders(traced, contenders(fitting, lookup, costs, BLOCK), progress)
        overheads = self._overheads(recordings, latency)
        tuned = self._tuned(recordings, latency, overheads, progress)
        tuning = Tuning.of(self.target, recordings, latency, tuned.priors, overheads)
        retrieval = tuned.settings(CASCADE) | {"review_overhead_ms": overheads.review_ms}
        selection, tasks = self._selection(traced, tuning, latency, retrieval, measured, progress)
        for_tasks = [name for verdict in tasks.values() if verdict.own for name in verdict.own.drafters]
        cascade = choose_cascade(measured, selection.drafters, selection.decision, lookup, costs, for_tasks)
        return Chosen(cascade, selection, tuned, tasks)

    def _contenders(self, traced: _Traced, chosen: Sequence[DrafterCandidate], progress: Progress) -> list[Contender]:
        measured = []
        for done, candidate in enumerate(chosen):
            name = PlanSpec.of(candidate).name
            progress(done, len(chosen) + 1, name)
            document = self.repository.get_document(self.calibration_id, CONTENDER_KIND, name)
            if document is None:
                contender = measure_contender(candidate, traced.of(candidate), traced.meter.block)
                document = self.repository.put_document(
                    self.calibration_id, CONTENDER_KIND, name, contender.model_dump(mode="json")
                )
            measured.append(Contender.model_validate(document))
        return measured

    def _overheads(self, recordings: Sequence[Recording], latency: LatencyModel) -> Overheads:
        forward_ms, n_steps = LatencyPredictor(latency).forward_ms, self.settings.probed_steps
        return stored_overheads(
            self.repository,
            self.calibration_id,
            lambda: self.target,
            recordings,
            forward_ms,
            CASCADE_PROBED_RECORDINGS,
            n_steps,
        )

    def _tuned(
        self, recordings: Sequence[Recording], latency: LatencyModel, overheads: Overheads, progress: Progress
    ) -> TunedMethods:
        document = self.repository.get_document(self.calibration_id, TUNED_KIND, "all")
        if document is None:
            tuned = self.tune_methods(self.target, recordings, latency, overheads, progress)
            document = self.repository.put_document(self.calibration_id, TUNED_KIND, "all", tuned.to_json())
        return TunedMethods.from_json(document)

    def _selection(
        self,
        traced: _Traced,
        tuning: Tuning,
        latency: LatencyModel,
        retrieval: Parameters,
        measured: Sequence[Contender],
        progress: Progress,
    ) -> tuple[Selection, dict[str, TaskVerdict]]:
        """The one cascade for all tasks and, where that was asked, the verdict on each task."""
        settings = self.settings
        tasks = dict.fromkeys(recording.task for recording in tuning.recordings)
        asked = list(tasks) if settings.per_task else []
        stored = {task: self.repository.get_document(self.calibration_id, TASK_KIND, task) for task in asked}
        document = self.repository.get_document(self.calibration_id, SELECTION_KIND, "all")
        served = self.repository.get_document(self.calibration_id, SERVED_KIND, "all")
        if document is not None and None not in stored.values():
            verdicts = {task: TaskVerdict.model_validate(found) for task, found in stored.items()}
            if served is not None or not any(verdict.own for verdict in verdicts.values()):
                return Selection.model_validate(served or document), verdicts

        def note(text: str) -> None:
            progress(len(measured), len(measured) + 1, text)

        said = {one.name: TracedPlan(traced.of(one.candidate, note)) for one in measured}
        replays = CascadeReplay(tuning, {one.name: one for one in measured}, said, self.target.n_layers).started(
            retrieval
        )
        limits = Limits(settings.max_drafters, settings.max_extra_bytes, settings.cascade_seconds)
        if document is None:
            choice = choose(replays, retrieval, limits, note=note)
            note("predicting speedups")
            found = forecast(replays, choice, retrieval)
            batches = by_batch(replays, found, choice, retrieval, latency)
            found = found.model_copy(update={"predicted_by_batch": batches})
            document = self.repository.put_document(
                self.calibration_id, SELECTION_KIND, "all", found.model_dump(mode="json")
            )
        selection = Selection.model_validate(document)
        verdicts, held = {}, list(selection.drafters)
        for task in asked:
            known = stored[task]
            if known is None:
                verdict = judge_task(replays, task, selection, retrieval, limits, held, note)
                known = self.repository.put_document(
                    self.calibration_id, TASK_KIND, task, verdict.model_dump(mode="json")
                )
            verdicts[task] = judged = TaskVerdict.model_validate(known)
            held += judged.own.drafters if judged.own is not None else ()
        if any(verdict.own for verdict in verdicts.values()):
            served = as_served(replays, selection, verdicts).model_dump(mode="json")
            selection = Selection.model_validate(
                self.repository.put_document(self.calibration_id, SERVED_KIND, "all", served)
            )
        return selection, verdicts


class _Traced:
    """Depth profiles of contenders on all recordings, each traced once."""

    def __init__(self, meter: AcceptanceMeter, n_layers: int) -> None:
        self.meter = meter
        self._n_layers = n_layers
        self._traces: dict[str, Traces] = {}

    def of(self, candidate: DrafterCandidate, note: Tell = untold) -> Traces:
        name = PlanSpec.of(candidate).name
        if name not in self._traces:
            note(f"tracing {name}")
            self._traces[name] = trace(self.meter, candidate, self._n_layers)
        return self._traces[name]


def affordable(quantization: Quantization, most_extra_bytes: int | None) -> bool:
    return most_extra_bytes is None or quantization.extra_bytes <= most_extra_bytes


def typical_context(recordings: Sequence[Recording]) -> int:
    """Committed rows halfway through a recording, on average: where costs are compared."""
    return round(mean(len(r.prompt_tokens) + len(r.continuation_tokens) / 2 for r in recordings))
