"""The recording stage of a calibration: which prompts, and each recording kept as soon as it is made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain, zip_longest
from typing import TypeVar

from casspec.profiler.progress import Progress
from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.sampling import Sampling
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import SuiteError, UnsupportedModel
from casspec.storage.repository import ARTIFACT_KIND, Repository
from casspec.storage.schema import Mode
from casspec.tuner.context import CalibrationContext
from casspec.tuner.recordings.recording import Decode, Recording, recorded
from casspec.tuner.settings import RecordSettings
from casspec.tuner.suites.prompts import Prompt, Suite, prompt_ids

RECORDING_PREFIX = "recording/"

REPORTING_PREFIX = "reporting/"
"""Of recordings that nothing is ever chosen on."""


T = TypeVar("T", Prompt, Recording)


def record(context: CalibrationContext, progress: Progress, decode: Decode | None = None) -> list[Recording]:
    """The recordings of a calibration: of the tuning half in every mode, stored ones first looked up.

    Raises:
        UnsupportedModel: the model has no tokenizer to read the suite with.
        SuiteError: no prompt of the tuning half leaves room for the continuation.
    """
    target, settings, asked = context.target, context.settings, context.settings.record
    decode = decode or lossless_decode(target, asked.tokens)
    prompts = chosen_prompts(context.suite, target, asked)
    jobs = [(prompt, tokens, mode) for mode in asked.modes for prompt, tokens in prompts]
    stored = stored_recordings(context.repository, context.calibration_id)
    recordings = []
    for done, (prompt, tokens, mode) in enumerate(jobs):
        progress(done, len(jobs), f"{prompt.task}, {mode}")
        recording = stored.get((prompt.id, mode))
        if recording is None:
            fresh = recorded(target, decode, prompt.id, prompt.task, tokens, mode, asked.temperature, settings.seed)
            recording = _save(context, fresh)
        recordings.append(recording)
    progress(len(jobs), len(jobs), "")
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
    """Recordings of prompts that no calibration recorded, kept beside its own; prompts that leave no room are left out.

    Args:
        load: gives the model, called when a recording is missing.
        asked: their modes, temperature and number of tokens. seed: of the noise.
    """

    @cache
    def decoder() -> Decode:
        return lossless_decode(load(), asked.tokens)

    stored = repository.documents(calibration_id, ARTIFACT_KIND)
    jobs = [(prompt, mode) for mode in asked.modes for prompt in prompts]
    recordings = []
    for done, (prompt, mode) in enumerate(jobs):
        progress(done, len(jobs), f"{prompt.task}, {mode}")
        name = f"{REPORTING_PREFIX}{asked.tokens}/{mode}/{prompt.id}"
        content = repository.artifact(stored[name]["sha256"]) if name in stored else None
        if content is None:
            target = load()
            tokens = prompt_ids(prompt, target.tokenizer) if target.tokenizer is not None else []
            if not 0 < len(tokens) <= target.max_context - asked.tokens:
                continue
            made = recorded(target, decoder(), prompt.id, prompt.task, tokens, mode, asked.temperature, seed)
            content = made.to_bytes()
            repository.save_artifact(name, content, calibration_id)
        recordings.append(Recording.from_bytes(content))
    progress(len(jobs), len(jobs), "")
    return recordings


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


def lossless_decode(target: TargetModel, n_tokens: int) -> Decode:
    """Decodes `n_tokens` tokens past any stop token.

    Every method emits the target's text, so the fastest one is used, and it goes on with what it learned from the texts before.
    """
    decoder = Decoder(target, method="dytc").with_memory()

    def decode(prompt: list[int], sampling: Sampling, seed: int) -> Sequence[int]:
        return decoder.generate(
            prompt, max_new_tokens=n_tokens, temperature=sampling.temperature, seed=seed, stop_token_ids=[]
        ).token_ids

    return decode


def _save(context: CalibrationContext, recording: Recording) -> Recording:
    """Keeps a recording; another process that was faster wins."""
    name = f"{RECORDING_PREFIX}{recording.mode}/{recording.prompt_id}"
    content = recording.to_bytes()
    repository = context.repository
    kept = repository.artifact(repository.save_artifact(name, content, context.calibration_id).sha256)
    return recording if kept is None or kept == content else Recording.from_bytes(kept)
