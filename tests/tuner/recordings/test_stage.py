"""The recording stage: which prompts, and every recording made once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.profiler.progress import silent
from casspec.runtime.model.target import TargetModel
from casspec.storage import open_repository
from casspec.storage.errors import SuiteError, UnsupportedModel
from casspec.tuner.context import CalibrationContext
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.side_by_side import TextRecorder, TextWanted
from casspec.tuner.recordings.stage import (
    chosen_prompts,
    record,
    reporting_recordings,
    stored_recordings,
    tasks_in_turn,
)
from casspec.tuner.suites.prompts import Prompt
from tests.tuner.small_calibration import SETTINGS, SUITE, begun, small_target
from tests.tuner.tiny import slow_decode


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return small_target()


@pytest.fixture
def context(tmp_path: Path) -> Iterator[CalibrationContext]:
    database = str(tmp_path / "casspec.db")
    with open_repository(database) as opened:
        yield begun(opened, database)


class Counting:
    """Records what the target says and counts the texts."""

    def __init__(self, target: TargetModel) -> None:
        self._make = recorder(target)
        self.count = 0

    def __call__(self, texts: Sequence[TextWanted]) -> Iterator[Recording]:
        self.count += len(texts)
        yield from self._make(texts)


def recorder(target: TargetModel) -> TextRecorder:
    return TextRecorder(target, SETTINGS.record.tokens, SETTINGS.record.temperature, SETTINGS.seed)


def test_every_mode_of_the_first_prompts_of_the_tuning_half_is_recorded_once(
    target: TargetModel, context: CalibrationContext
) -> None:
    make, told = Counting(target), list[int]()
    recordings = record(context, lambda n, *_: told.append(n), make)
    assert told == list(range(len(recordings) + 1))
    assert len(recordings) == make.count == SETTINGS.record.prompts * len(SETTINGS.record.modes)
    tuning = {prompt.id for prompt in SUITE.half("tuning")}
    assert {recording.prompt_id for recording in recordings} <= tuning
    assert {len(recording.continuation_tokens) for recording in recordings} == {SETTINGS.record.tokens}

    again = record(context, silent, make)
    assert make.count == len(recordings)
    assert [one.to_bytes() for one in again] == [one.to_bytes() for one in recordings]
    assert stored_recordings(context.repository, context.calibration_id).keys() == {
        (one.prompt_id, one.mode) for one in recordings
    }


def test_a_recording_that_another_process_kept_first_is_the_one_that_counts(
    target: TargetModel, context: CalibrationContext
) -> None:
    context = replace(context, settings=SETTINGS.changed({"record": {"prompts": 1, "modes": ("greedy",)}}))
    make = recorder(target)

    def overtaken(texts: Sequence[TextWanted]) -> Iterator[Recording]:
        record(context, silent, make)
        for recording in make(texts):
            yield replace(recording, continuation_tokens=0 * recording.continuation_tokens)

    (kept,) = record(context, silent, overtaken)
    decode = slow_decode(target, SETTINGS.record.tokens)
    assert kept.continuation_tokens.tolist() == decode(kept.prompt_tokens.tolist(), kept.sampling, kept.seed)


def test_reporting_prompts_are_recorded_apart_and_the_model_is_asked_for_once(
    target: TargetModel, context: CalibrationContext
) -> None:
    loads, asked = list[str](), SETTINGS.record.model_copy(update={"tokens": 8})

    def load() -> TargetModel:
        loads.append("model")
        return target

    def recorded(prompts: Sequence[Prompt]) -> list[str]:
        found = reporting_recordings(
            context.repository, context.calibration_id, load, prompts, asked, SETTINGS.seed, silent
        )
        return [f"{one.prompt_id} {one.mode}" for one in found]

    prompts = list(SUITE.half("reporting")[:2])
    too_long = prompts[0].model_copy(update={"id": "long", "turns": ("w1 " * target.max_context,)})
    names = [f"{prompt.id} {mode}" for mode in SETTINGS.record.modes for prompt in prompts]
    assert recorded([*prompts, too_long]) == names, "what leaves no room is left out"
    loads.clear()
    assert recorded(prompts) == names
    assert loads == []
    assert stored_recordings(context.repository, context.calibration_id) == {}, "nothing is ever chosen on these"


def test_prompts_come_from_every_task_of_the_tuning_half_and_must_fit() -> None:
    target = small_target()
    chosen = [prompt for prompt, _ in chosen_prompts(SUITE, target, SETTINGS.record)]
    assert {prompt.half for prompt in chosen} == {"tuning"}
    assert Counter(prompt.task for prompt in chosen) == {"count": 2, "skip": 1}
    with pytest.raises(SuiteError, match="fits the model's context of 1024"):
        chosen_prompts(SUITE, target, SETTINGS.record.model_copy(update={"tokens": 1022}))
    target.tokenizer = None
    with pytest.raises(UnsupportedModel, match="has no tokenizer"):
        chosen_prompts(SUITE, target, SETTINGS.record)


def test_all_turns_are_recorded_where_they_are_asked_and_it_is_told_what_does_not_fit(
    target: TargetModel, context: CalibrationContext
) -> None:
    long = "w3 " * target.max_context
    talks = tuple(one.model_copy(update={"turns": (*one.turns, "w1 w2", long)}) for one in SUITE.prompts)
    too_long = SUITE.prompts[0].model_copy(update={"id": "long", "turns": (long,)})
    talking = replace(context, suite=SUITE.model_copy(update={"prompts": (too_long, *talks)}))

    def recorded(**asked: str) -> tuple[list[str], list[str]]:
        told: list[str] = []
        settings = SETTINGS.changed({"record": {"modes": ("greedy",), **asked}})
        found = record(replace(talking, settings=settings), silent, tell=told.append)
        return [one.prompt_id for one in found], told

    first, told = recorded()
    assert len(first) == SETTINGS.record.prompts
    assert [line.partition(",")[0] for line in told] == ["left out: 1 prompt of the tuning half"]
    assert "without room for 12 new tokens in the model's context of 1024" in told[0]
    everything, told = recorded(turns="all")
    assert everything == [turn for one in first for turn in (one, f"{one}#1")]
    assert [line.partition(" of ")[0] for line in told] == ["left out: 1 prompt", "left out: 3 later turns"]
    cut, told = recorded(turns="all", long="cut")
    assert cut[0] == "long"
    assert sum(turn.endswith("#2") for turn in cut) == 2
    assert [line.partition(":")[0] for line in told] == ["cut at the front"] * 2


@given(st.lists(st.sampled_from("abc"), max_size=12))
def test_tasks_take_turns_until_each_is_through(tasks: list[str]) -> None:
    prompts = [Prompt(id=str(place), task=task, turns=("x",), half="tuning") for place, task in enumerate(tasks)]
    turns = tasks_in_turn(prompts)
    assert sorted(turns, key=lambda prompt: int(prompt.id)) == prompts
    rounds = [sum(other.task == one.task for other in turns[:place]) for place, one in enumerate(turns)]
    assert rounds == sorted(rounds)
    for task in set(tasks):
        assert [one for one in turns if one.task == task] == [one for one in prompts if one.task == task]
