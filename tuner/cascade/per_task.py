"""Whether one cascade serves all tasks, or tasks deserve their own: asked of recordings that the own one was not chosen on.

Every task's prompts are split in two folds. A cascade chosen on one fold alone is replayed on the other beside the one for all, which has
seen both: a task that gains all the same gains for a reason. Only then a cascade is chosen on all recordings of the task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

from casspec.profiler.progress import Tell, untold
from casspec.storage.schema import Document, TaskCascade
from casspec.tuner.cascade.forecast import Selection, forecast, intervals
from casspec.tuner.cascade.replay import CascadeReplay, Parameters
from casspec.tuner.cascade.selection import Limits, choose
from casspec.tuner.methods.by_replay import Judged, by_mode
from casspec.tuner.recordings.recording import Recording

LEAST_TASK_GAIN = 1.03
"""Times faster on held-out recordings a cascade of its own must be for a task to get one."""


SpeedupsOfOthers = Callable[[Sequence[Recording]], dict[str, dict[str, float]]]


class TaskVerdict(Document):
    """What was found out about a task."""

    gain: float | None
    """Times faster with a cascade of its own on held-out recordings; None with fewer than two prompts to ask."""
    own: TaskCascade | None = None
    """For a task that deserves it."""


def judge_task(
    replays: CascadeReplay,
    task: str,
    for_all: Selection,
    retrieval: Parameters,
    limits: Limits,
    beside: Sequence[str] = (),
    tell: Tell = untold,
    others: SpeedupsOfOthers = lambda recordings: {},
) -> TaskVerdict:
    """Whether `task` deserves a cascade of its own, and that one if it does.

    Args:
        for_all: what was selected for all tasks together.
        retrieval: parameters of dytc for retrieval alone.
        beside: plans whose weights are held whatever this task gets.
        others: what plainer methods come to on recordings, by decoding mode and method.
    """
    recordings = [recording for recording in replays.recordings if recording.task == task]
    folds = split_by_prompt(recordings)
    if not all(folds):
        return TaskVerdict(gain=None)

    def selected(on: Sequence[Recording]) -> Selection:
        choice = choose(replays, retrieval, limits, on, beside, lambda text: tell(f"{task}: {text}"))
        return forecast(replays, choice, retrieval, on)

    own: list[Judged] = []
    general: list[Judged] = []
    for judged, other in (folds, folds[::-1]):
        own += as_decided(replays, selected(other), judged)
        general += as_decided(replays, for_all, judged)
    gain = times_faster(own, general)
    if gain < LEAST_TASK_GAIN:
        return TaskVerdict(gain=gain)
    found = selected(recordings)
    cascade = TaskCascade(
        drafters=found.drafters,
        parameters=found.parameters,
        decision=found.decision,
        predicted_speedup={str(mode): value for mode, value in found.predicted_speedup.items()},
        predicted_of_others=others(recordings),
    )
    return TaskVerdict(gain=gain, own=cascade)


def as_served(replays: CascadeReplay, for_all: Selection, verdicts: Mapping[str, TaskVerdict]) -> Selection:
    """The selection for all tasks, but with speedups predicted of what decodes: on tasks with a cascade of their own, that one."""
    judged: list[Judged] = []
    for task in dict.fromkeys(recording.task for recording in replays.recordings):
        own = verdicts[task].own if task in verdicts else None
        judged += as_decided(replays, own or for_all, [one for one in replays.recordings if one.task == task])
    speedups = {mode: result.speedup for mode, result in by_mode(judged).items()}
    return for_all.model_copy(update={"predicted_speedup": speedups, "predicted_interval": intervals(judged)})


def as_decided(
    replays: CascadeReplay, selection: Selection | TaskCascade, recordings: Sequence[Recording]
) -> list[Judged]:
    """What the recordings come to as the selection decides: plain decoding where that is fastest."""
    judged = replays.run(selection.drafters, selection.parameters, recordings)
    if selection.decision != "off":
        return judged
    return [(recording, replace(result, method_ms=result.autoregressive_ms)) for recording, result in judged]


def split_by_prompt(recordings: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """Two folds; the recordings of a prompt in all modes are in one of them."""
    prompts = list(dict.fromkeys(recording.conversation_id for recording in recordings))
    first = set(prompts[::2])
    return (
        [recording for recording in recordings if recording.conversation_id in first],
        [recording for recording in recordings if recording.conversation_id not in first],
    )


def times_faster(own: Sequence[Judged], general: Sequence[Judged]) -> float:
    """The geometric mean over decoding modes of the time `general` takes over that of `own`, on the same recordings."""
    ours, theirs = by_mode(own), by_mode(general)
    ratios = [theirs[mode].method_ms / ours[mode].method_ms for mode in ours]
    return float(prod(ratios) ** (1 / len(ratios)))
