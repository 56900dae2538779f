"""The recording stage of a calibration: which prompts, and each recording kept as soon as it is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from casspec.profiler.progress import Progress, Tell, untold
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import SuiteError, UnsupportedModel
from casspec.storage.repository import ARTIFACT_KIND, Repository
from casspec.storage.schema import Mode
from casspec.tuner.context import CalibrationContext
from casspec.tuner.recordings.conversations import MakeTexts, RecordingKey, TurnByTurn
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.side_by_side import TextRecorder
from casspec.tuner.settings import RecordSettings
from casspec.tuner.suites.files.rows import counted
from casspec.tuner.suites.prompts import Prompt, Suite, asked_turns
from casspec.tuner.suites.token_prompts import Room, turn_prompt

RECORDING_PREFIX = "recording/"

REPORTING_PREFIX = "reporting/"
"""Of recordings that nothing is ever chosen on."""

T = TypeVar("T", Prompt, Recording)


def record(
    context: CalibrationContext, progress: Progress, make: MakeTexts | None = None, tell: Tell = untold
) -> list[Recording]:
    """The recordings of a calibration: of the tuning half in every mode, stored ones first looked up.

    Args:
        make: makes those that are missing, by default with the target.
        tell: told in a line each which prompts and turns the context is too small for.

    Raises:
        UnsupportedModel: the model has no tokenizer to read the suite with.
        SuiteError: no prompt of the tuning half leaves room for the continuation.
    """
    target, settings, asked = context.target, context.settings, context.settings.record
    chosen = chosen_prompts(context.suite, target, asked, tell)
    turns = TurnByTurn(
        conversations=[prompt for prompt, _ in chosen],
        modes=asked.modes,
        load=lambda: target,
        room_in=lambda target: Room.before(target, asked.tokens, asked.long),
        kept=stored_recordings(context.repository, context.calibration_id),
        make=make or TextRecorder(target, asked.tokens, asked.temperature, settings.seed),
        made=lambda recording: _save(context, recording),
        told=lambda done, total, new: progress(done, total, f"{new.task}, {new.mode}" if new else ""),
    )
    recordings = turns.run()
    later = {turn for one in turns.conversations for turn in map(one.turn_id, range(1, len(one.turns)))}
    for done, ids in (("left out", turns.without_room), ("cut at the front", turns.cut)):
        if count := len(later.intersection(ids)):
            tell(f"{done}: {counted(count, 'later turn')} of conversations, which quote what was said before")
    return recordings


def stored_recordings(repository: Repository, calibration_id: str) -> dict[tuple[str, Mode], Recording]:
    """What a calibration has recorded so far, by prompt and mode."""
    recordings = {}
    for name, artifact in repository.documents(calibration_id, ARTIFACT_KIND).items():
        content = repository.artifact(artifact["sha256"]) if name.startswith(RECORDING_PREFIX) else None
        if content is not None:
            recording = Recording.from_bytes(content)
            recordings[recording.prompt_id, recording.mode] = recording
    return recordings


def reporting_recordings(
    repository: Repository,
    calibration_id: str,
    load: Callable[[], TargetModel],
    prompts: Sequence[Prompt],
    asked: RecordSettings,
    seed: int,
    progress: Progress,
) -> list[Recording]:
    """Recordings of prompts that no calibration recorded, of all their turns, kept beside its own; what leaves no room is left out.

    Args:
        load: gives the model, called when a recording is missing.
        asked: their modes, temperature and number of tokens. seed: of the noise.
    """

    def name(key: RecordingKey) -> str:
        return f"{REPORTING_PREFIX}{asked.tokens}/{key[1]}/{key[0]}"

    def save(recording: Recording) -> Recording:
        repository.save_artifact(name((recording.prompt_id, recording.mode)), recording.to_bytes(), calibration_id)
        return recording

    stored = repository.documents(calibration_id, ARTIFACT_KIND)
    kept: dict[RecordingKey, Recording] = {}
    for key in ((one.turn_id(turn), mode) for mode in asked.modes for one in prompts for turn in range(len(one.turns))):
        content = repository.artifact(stored[name(key)]["sha256"]) if name(key) in stored else None
        if content is not None:
            kept[key] = Recording.from_bytes(content)
    return TurnByTurn(
        conversations=prompts,
        modes=asked.modes,
        load=load,
        room_in=lambda target: Room.before(target, asked.tokens, asked.long),
        kept=kept,
        make=lambda texts: TextRecorder(load(), asked.tokens, asked.temperature, seed)(texts),
        made=save,
        told=lambda done, total, new: progress(done, total, f"{new.task}, {new.mode}" if new else ""),
    ).run()


def chosen_prompts(
    suite: Suite, target: TargetModel, asked: RecordSettings, tell: Tell = untold
) -> list[tuple[Prompt, list[int]]]:
    """Prompts of the tuning half that fit the context, from every task in turn, as far as they are asked, with the token ids of their
    first turn.
    """
    if target.tokenizer is None:
        raise UnsupportedModel(f"'{target.name}' has no tokenizer, so no suite can be read; add one to its directory")
    room = Room.before(target, asked.tokens, asked.long)
    chosen: list[tuple[Prompt, list[int]]] = []
    n_cut = n_skipped = 0
    for prompt in asked_turns(tasks_in_turn(suite.half("tuning")), asked.turns):
        if len(chosen) == asked.prompts:
            break
        fitted = room.fitted(turn_prompt(target, prompt, ()))
        if fitted is None:
            n_skipped += 1
            continue
        n_cut += fitted.n_cut > 0
        chosen.append((prompt, list(fitted.token_ids)))
    if not chosen:
        raise SuiteError(
            f"no prompt in the tuning half of suite '{suite.name}' fits the model's context of {target.max_context} "
            f"tokens with {asked.tokens} new ones; choose a suite with shorter prompts or --long cut"
        )
    room_for = f"room for {asked.tokens} new tokens in the model's context of {target.max_context}"
    if n_skipped:
        told = counted(n_skipped, "prompt")
        tell(
            f"left out: {told} of the tuning half, without {room_for}; --long cut takes the last tokens of such prompts"
        )
    if n_cut:
        tell(f"cut at the front: {counted(n_cut, 'prompt')} of the tuning half, for {room_for}")
    return chosen


def tasks_in_turn(of_tasks: Sequence[T]) -> list[T]:
    """The first of every task, then the second of every task, and so on."""
    by_task: defaultdict[str, list[T]] = defaultdict(list)
    for one in of_tasks:
        by_task[one.task].append(one)
    return [one for one in chain.from_iterable(zip_longest(*by_task.values())) if one is not None]


def _save(context: CalibrationContext, recording: Recording) -> Recording:
    """Keeps a recording; another process that was faster wins."""
    name = f"{RECORDING_PREFIX}{recording.mode}/{recording.prompt_id}"
    content = recording.to_bytes()
    repository = context.repository
    kept = repository.artifact(repository.save_artifact(name, content, context.calibration_id).sha256)
    return recording if kept is None or kept == content else Recording.from_bytes(kept)
