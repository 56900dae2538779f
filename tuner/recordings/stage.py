"""The recording stage of a calibration: which prompts, and each recording kept as soon as it is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from casspec.profiler.progress import Progress
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import SuiteError, UnsupportedModel
from casspec.storage.repository import ARTIFACT_KIND, Repository
from casspec.storage.schema import Mode
from casspec.tuner.context import CalibrationContext
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.side_by_side import TextRecorder, TextWanted
from casspec.tuner.settings import RecordSettings
from casspec.tuner.suites.prompts import Prompt, Suite, prompt_ids

RECORDING_PREFIX = "recording/"

REPORTING_PREFIX = "reporting/"
"""Of recordings that nothing is ever chosen on."""


MakeTexts = Callable[[Sequence[TextWanted]], Iterable[Recording]]
"""The recordings of these texts, in any order."""

T = TypeVar("T", Prompt, Recording)


def record(context: CalibrationContext, progress: Progress, make: MakeTexts | None = None) -> list[Recording]:
    """The recordings of a calibration: of the tuning half in every mode, stored ones first looked up.

    Args:
        make: makes those that are missing, by default with the target.

    Raises:
        UnsupportedModel: the model has no tokenizer to read the suite with.
        SuiteError: no prompt of the tuning half leaves room for the continuation.
    """
    target, settings, asked = context.target, context.settings, context.settings.record
    make = make or TextRecorder(target, asked.tokens, asked.temperature, settings.seed)
    prompts = chosen_prompts(context.suite, target, asked)
    wanted = [TextWanted(prompt.id, prompt.task, tuple(ids), mode) for mode in asked.modes for prompt, ids in prompts]
    kept = stored_recordings(context.repository, context.calibration_id)
    missing = [text for text in wanted if (text.prompt_id, text.mode) not in kept]
    n_kept = len(wanted) - len(missing)
    progress(n_kept, len(wanted), "")
    for done, recording in enumerate(make(missing), n_kept + 1):
        kept[recording.prompt_id, recording.mode] = _save(context, recording)
        progress(done, len(wanted), f"{recording.task}, {recording.mode}")
    return [kept[text.prompt_id, text.mode] for text in wanted]


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
    """Recordings of prompts that no calibration recorded, kept beside its own; prompts that leave no room are left out.

    Args:
        load: gives the model, called when a recording is missing.
        asked: their modes, temperature and number of tokens. seed: of the noise.
    """
    names = [
        (f"{REPORTING_PREFIX}{asked.tokens}/{mode}/{prompt.id}", prompt, mode)
        for mode in asked.modes
        for prompt in prompts
    ]
    stored = repository.documents(calibration_id, ARTIFACT_KIND)
    contents = {name: repository.artifact(stored[name]["sha256"]) for name, _, _ in names if name in stored}
    missing = {
        (prompt.id, mode): (name, text)
        for name, prompt, mode in names
        if contents.get(name) is None and (text := _text_with_room(load(), prompt, mode, asked.tokens)) is not None
    }
    total = len(contents) + len(missing)
    progress(len(contents), total, "")
    if missing:
        make = TextRecorder(load(), asked.tokens, asked.temperature, seed)
        for done, recording in enumerate(make([text for _, text in missing.values()]), len(contents) + 1):
            name, _ = missing[recording.prompt_id, recording.mode]
            content = contents[name] = recording.to_bytes()
            repository.save_artifact(name, content, calibration_id)
            progress(done, total, f"{recording.task}, {recording.mode}")
    found = [contents.get(name) for name, _, _ in names]
    return [Recording.from_bytes(content) for content in found if content is not None]


def _text_with_room(target: TargetModel, prompt: Prompt, mode: Mode, n_tokens: int) -> TextWanted | None:
    """The text of a prompt; None where it leaves no room in the context."""
    ids = prompt_ids(prompt, target.tokenizer) if target.tokenizer is not None else []
    has_room = 0 < len(ids) <= target.max_context - n_tokens
    return TextWanted(prompt.id, prompt.task, tuple(ids), mode) if has_room else None


def chosen_prompts(suite: Suite, target: TargetModel, asked: RecordSettings) -> list[tuple[Prompt, list[int]]]:
    """Prompts of the tuning half that fit the context, from every task in turn, with their token ids."""
    if target.tokenizer is None:
        raise UnsupportedModel(f"'{target.name}' has no tokenizer, so no suite can be read; add one to its directory")
    room = target.max_context - asked.tokens
    chosen: list[tuple[Prompt, list[int]]] = []
    for prompt in tasks_in_turn(suite.half("tuning")):
        if len(chosen) == asked.prompts:
            break
        tokens = prompt_ids(prompt, target.tokenizer)
        if 0 < len(tokens) <= room:
            chosen.append((prompt, tokens))
    if not chosen:
        raise SuiteError(
            f"no prompt in the tuning half of suite '{suite.name}' fits the model's context of {target.max_context} "
            f"tokens with {asked.tokens} new ones; choose a suite with shorter prompts"
        )
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
