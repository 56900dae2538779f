"""The stage of a calibration that chooses the cascade: contenders measured, methods tuned, the cascade replayed.

Every outcome is kept in the store as it is found, and looked up there first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from casspec.profiler.progress import Progress, Tell, untold
from casspec.runtime.latency.predictor import LatencyPredictor
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import CASCADE, DrafterCandidate, LatencyModel
from casspec.tuner.cascade.contenders import (
    Cascade,
    Contender,
    Costs,
    assemble_cascade,
    contenders,
    lookup_survival,
    measure_contender,
    trace,
)
from casspec.tuner.cascade.forecast import Selection, by_batch, forecast
from casspec.tuner.cascade.per_task import TaskVerdict, as_served, judge_task
from casspec.tuner.cascade.replay import CascadeReplay, Parameters
from casspec.tuner.cascade.selection import Limits, choose
from casspec.tuner.context import CalibrationContext
from casspec.tuner.methods.by_replay import TunedMethods, Tuning, speedups_of_others, tune_methods
from casspec.tuner.recordings.offline_acceptance import BLOCK, AcceptanceMeter
from casspec.tuner.recordings.recording import Recording, typical_context
from casspec.tuner.recordings.traced_plan import TracedPlan, Traces
from casspec.tuner.replay.overhead import Overheads, stored_overheads
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.space import affordable

CONTENDER_KIND = "contender"
TUNED_KIND = "tuned-methods"
SELECTION_KIND = "selection"
TASK_KIND = "task-cascade"
SERVED_KIND = "served-tasks"
"""The selection with speedups as tasks are served, where some have a cascade of their own."""


TuneMethods = Callable[[TargetModel, Sequence[Recording], LatencyModel, Overheads, Progress], TunedMethods]
"""Tunes the methods by replay: (target, recordings, latency, overheads, progress)."""


@dataclass(frozen=True)
class Chosen:
    """What the stage found; `tasks` by name, {} where it was not asked whether they deserve a cascade of their own."""

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


def choose_cascade(
    context: CalibrationContext,
    recordings: Sequence[Recording],
    latency: LatencyModel,
    candidates: Sequence[DrafterCandidate],
    progress: Progress,
    tune: TuneMethods = tune_methods,
) -> Chosen:
    """From the candidates of the search to the drafters of the profile."""
    stage = _Stage(context, recordings, latency, progress)
    target, settings = context.target, context.settings
    costs = Costs(target, LatencyPredictor(latency), typical_context(recordings))
    lookup = lookup_survival(recordings)
    fitting = [one for one in candidates if affordable(one.quantization, settings.cascade.max_extra_bytes)]
    traced = _Traced(AcceptanceMeter(target, recordings, settings.seed), target.n_layers)
    measured = stage.contenders(traced, contenders(fitting, lookup, costs, BLOCK))
    overheads = stage.overheads()
    tuned = stage.tuned(overheads, tune)
    tuning = Tuning.of(target, recordings, latency, tuned.priors, overheads)
    retrieval = tuned.settings(CASCADE) | {"review_overhead_ms": overheads.review_ms}
    selection, tasks = stage.selection(traced, tuning, tuned, retrieval, measured)
    for_tasks = [name for verdict in tasks.values() if verdict.own for name in verdict.own.drafters]
    cascade = assemble_cascade(measured, selection.drafters, selection.decision, lookup, costs, for_tasks)
    return Chosen(cascade, selection, tuned, tasks)


@dataclass(frozen=True)
class _Stage:
    """The outcomes of the stage, each looked up in the store before it is found."""

    context: CalibrationContext
    recordings: Sequence[Recording]
    latency: LatencyModel
    progress: Progress

    def contenders(self, traced: _Traced, chosen: Sequence[DrafterCandidate]) -> list[Contender]:
        measured = []
        for done, candidate in enumerate(chosen):
            name = PlanSpec.of(candidate).name
            self.progress(done, len(chosen) + 1, name)
            document = self._get(CONTENDER_KIND, name)
            if document is None:
                contender = measure_contender(candidate, traced.of(candidate), traced.meter.block)
                document = self._put(CONTENDER_KIND, name, contender.model_dump(mode="json"))
            measured.append(Contender.model_validate(document))
        return measured

    def overheads(self) -> Overheads:
        settings = self.context.settings.cascade
        return stored_overheads(
            self.context.repository,
            self.context.calibration_id,
            lambda: self.context.target,
            self.recordings,
            LatencyPredictor(self.latency).forward_ms,
            settings.probed_recordings,
            settings.probed_steps,
        )

    def tuned(self, overheads: Overheads, tune: TuneMethods) -> TunedMethods:
        document = self._get(TUNED_KIND, "all")
        if document is None:
            found = tune(self.context.target, self.recordings, self.latency, overheads, self.progress)
            document = self._put(TUNED_KIND, "all", found.to_json())
        return TunedMethods.from_json(document)

    def selection(
        self,
        traced: _Traced,
        tuning: Tuning,
        tuned: TunedMethods,
        retrieval: Parameters,
        measured: Sequence[Contender],
    ) -> tuple[Selection, dict[str, TaskVerdict]]:
        """The one cascade for all tasks and, where that was asked, the verdict on each task."""
        asked_for = self.context.settings.cascade
        tasks = dict.fromkeys(recording.task for recording in tuning.recordings)
        asked = list(tasks) if asked_for.per_task else []
        stored = {task: self._get(TASK_KIND, task) for task in asked}
        document = self._get(SELECTION_KIND, "all")
        served = self._get(SERVED_KIND, "all")
        if document is not None and None not in stored.values():
            verdicts = {task: TaskVerdict.model_validate(found) for task, found in stored.items()}
            if served is not None or not any(verdict.own for verdict in verdicts.values()):
                return Selection.model_validate(served or document), verdicts

        def tell(text: str) -> None:
            self.progress(len(measured), len(measured) + 1, text)

        said = {one.name: TracedPlan(traced.of(one.candidate, tell)) for one in measured}
        by_name = {one.name: one for one in measured}
        replays = CascadeReplay(tuning, by_name, said, self.context.target.n_layers).started(retrieval)
        others = partial(speedups_of_others, tuned, tuning)
        limits = Limits(asked_for.max_drafters, asked_for.max_extra_bytes, asked_for.tuning_seconds)
        if document is None:
            choice = choose(replays, retrieval, limits, tell=tell)
            tell("predicting speedups")
            found = forecast(replays, choice, retrieval)
            batches = by_batch(replays, found, choice, retrieval, self.latency)
            found = found.model_copy(update={"predicted_by_batch": batches, "predicted_of_others": others(None)})
            document = self._put(SELECTION_KIND, "all", found.model_dump(mode="json"))
        selection = Selection.model_validate(document)
        verdicts, held = {}, list(selection.drafters)
        for task in asked:
            known = stored[task]
            if known is None:
                verdict = judge_task(replays, task, selection, retrieval, limits, held, tell, others)
                known = self._put(TASK_KIND, task, verdict.model_dump(mode="json"))
            verdicts[task] = judged = TaskVerdict.model_validate(known)
            held += judged.own.drafters if judged.own is not None else ()
        if any(verdict.own for verdict in verdicts.values()):
            served = as_served(replays, selection, verdicts).model_dump(mode="json")
            selection = Selection.model_validate(self._put(SERVED_KIND, "all", served))
        return selection, verdicts

    def _get(self, kind: str, key: str) -> Any | None:
        return self.context.repository.get_document(self.context.calibration_id, kind, key)

    def _put(self, kind: str, key: str, value: Any) -> Any:
        """The value that is kept: another process may have been faster."""
        return self.context.repository.put_document(self.context.calibration_id, kind, key, value)


class _Traced:
    """Depth profiles of contenders on all recordings, each traced once."""

    def __init__(self, meter: AcceptanceMeter, n_layers: int) -> None:
        self.meter = meter
        self._n_layers = n_layers
        self._traces: dict[str, Traces] = {}

    def of(self, candidate: DrafterCandidate, tell: Tell = untold) -> Traces:
        name = PlanSpec.of(candidate).name
        if name not in self._traces:
            tell(f"tracing {name}")
            self._traces[name] = trace(self.meter, candidate, self._n_layers)
        return self._traces[name]
