"""The recording stage: which prompts, and every recording made once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.sampling import Sampling
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.errors import SuiteError, UnsupportedModel
from casspec.storage.repository import Repository
from casspec.tuner.recordings.recording import Decode
from casspec.tuner.recordings.stage import (
    chosen_prompts,
    lossless_decode,
    record_suite,
    reporting_recordings,
    stored_recordings,
    tasks_in_turn,
)
from casspec.tuner.suites.prompts import Prompt
from tests.storage import samples
from tests.tuner.small_calibration import SETTINGS, SUITE, small_target
from tests.tuner.tiny import slow_decode


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return small_target()


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with open_repository(str(tmp_path / "casspec.db")) as opened:
        yield opened


@pytest.fixture
def calibration_id(repository: Repository) -> str:
    return repository.calibration(samples.model(), samples.device(), "float32", {}).calibration_id


def untold(done: int, total: int | None = None, note: str = "") -> None: ...


class Counting:
    """Decodes what the target says and counts the texts."""

    def __init__(self, target: TargetModel) -> None:
        self._decode: Decode = slow_decode(target, SETTINGS.recorded_tokens)
        self.count = 0

    def __call__(self, prompt: list[int], sampling: Sampling, seed: int) -> Sequence[int]:
        self.count += 1
        return self._decode(prompt, sampling, seed)


def test_every_mode_of_the_first_prompts_of_the_tuning_half_is_recorded_once(
    target: TargetModel, repository: Repository, calibration_id: str
) -> None:
    decode, told = Counting(target), list[int]()
    recordings = record_suite(repository, calibration_id, target, SUITE, SETTINGS, lambda n, *_: told.append(n), decode)
    assert told == list(range(len(recordings) + 1))
    assert len(recordings) == decode.count == SETTINGS.recorded_prompts * len(SETTINGS.modes)
    tuning = {prompt.id for prompt in SUITE.half("tuning")}
    assert {recording.prompt_id for recording in recordings} <= tuning
    assert {len(recording.continuation_tokens) for recording in recordings} == {SETTINGS.recorded_tokens}

    again = record_suite(repository, calibration_id, target, SUITE, SETTINGS, untold, decode)
    assert decode.count == len(recordings)
    assert [one.to_bytes() for one in again] == [one.to_bytes() for one in recordings]
    assert stored_recordings(repository, calibration_id).keys() == {(one.prompt_id, one.mode) for one in recordings}


def test_the_fastest_decoder_records_the_text_of_the_slowest(target: TargetModel) -> None:
    fast, slow = lossless_decode(target, 12), slow_decode(target, 12)
    for seed, temperature in enumerate((0.0, 0.7, 0.7)):
        sampling = Sampling(temperature=temperature)
        assert list(fast([1, 2, 3, 4], sampling, seed)) == slow([1, 2, 3, 4], sampling, seed)


def test_a_recording_that_another_process_kept_first_is_the_one_that_counts(
    target: TargetModel, repository: Repository, calibration_id: str
) -> None:
    settings = SETTINGS.model_copy(update={"recorded_prompts": 1, "modes": ("greedy",)})
    decode = slow_decode(target, SETTINGS.recorded_tokens)

    def overtaken(prompt: list[int], sampling: Sampling, seed: int) -> list[int]:
        record_suite(repository, calibration_id, target, SUITE, settings, untold, decode)
        return [0] * SETTINGS.recorded_tokens

    (kept,) = record_suite(repository, calibration_id, target, SUITE, settings, untold, overtaken)
    assert kept.continuation_tokens.tolist() == decode(kept.prompt_tokens.tolist(), kept.sampling, kept.seed)


def test_reporting_prompts_are_recorded_apart_and_the_model_is_asked_for_once(
    target: TargetModel, repository: Repository, calibration_id: str
) -> None:
    loads: list[str] = []

    def load() -> TargetModel:
        loads.append("model")
        return target

    def recorded(prompts: Sequence[Prompt]) -> list[str]:
        found = reporting_recordings(repository, calibration_id, load, prompts, SETTINGS, 8, untold)
        return [f"{one.prompt_id} {one.mode}" for one in found]

    prompts = list(SUITE.half("reporting")[:2])
    too_long = prompts[0].model_copy(update={"id": "long", "turns": ("w1 " * target.max_context,)})
    names = [f"{prompt.id} {mode}" for mode in SETTINGS.modes for prompt in prompts]
    assert recorded([*prompts, too_long]) == names, "what leaves no room is left out"
    loads.clear()
    assert recorded(prompts) == names
    assert loads == []
    assert stored_recordings(repository, calibration_id) == {}, "nothing is ever chosen on these"


def test_a_model_that_cannot_read_the_suite_or_has_no_room_for_it_is_refused(target: TargetModel) -> None:
    cramped = SETTINGS.model_copy(update={"recorded_tokens": target.max_context})
    with pytest.raises(SuiteError, match=f"fits the model's context of {target.max_context}"):
        chosen_prompts(SUITE, target, cramped)
    speechless = small_target()
    speechless.tokenizer = None
    with pytest.raises(UnsupportedModel, match="has no tokenizer"):
        chosen_prompts(SUITE, speechless, SETTINGS)


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_tasks_take_turns_until_each_is_through(tasks: list[str]) -> None:
    prompts = [Prompt(id=str(place), task=task, turns=("x",), half="tuning") for place, task in enumerate(tasks)]
    turns = tasks_in_turn(prompts)
    assert sorted(turns, key=lambda prompt: int(prompt.id)) == prompts
    rounds = [sum(other.task == one.task for other in turns[:place]) for place, one in enumerate(turns)]
    assert rounds == sorted(rounds)
    for task in set(tasks):
        assert [one for one in turns if one.task == task] == [one for one in prompts if one.task == task]
