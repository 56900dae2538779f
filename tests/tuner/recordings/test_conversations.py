"""Conversations turn by turn: each turn quotes what was recorded of the one before, and nothing is recorded twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import Mode
from casspec.tuner.recordings.conversations import TurnByTurn
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.side_by_side import TextRecorder, TextWanted
from casspec.tuner.settings import Long
from casspec.tuner.suites.prompts import Prompt
from casspec.tuner.suites.token_prompts import Room, turn_prompt
from tests.tuner.small_calibration import small_target

MODES: tuple[Mode, ...] = ("sample", "greedy")
TOKENS = 6
TALKS = (
    Prompt(id="a", task="talk", turns=("w1 w2", "w3", "w4"), half="tuning"),
    Prompt(id="b", task="talk", turns=("w5 w6 w7", "w8"), answers=(" w9 w10 ",), half="tuning"),
    Prompt(id="c", task="talk", turns=("w11",), half="tuning"),
)
TURNS = ["a", "a#1", "a#2", "b", "b#1", "c"]


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return small_target()


class Recorder:
    """Turn by turn with a target whose context is as large as it is told; counts what is made."""

    def __init__(self, target: TargetModel, room: int = 1000, long: Long = "skip") -> None:
        self.target, self.room = target, Room(room, long)
        self.kept: dict[tuple[str, Mode], Recording] = {}
        self.made: list[str] = []
        self.told: list[tuple[int, int]] = []

    def make(self, texts: Sequence[TextWanted]) -> Iterator[Recording]:
        self.made += [text.prompt_id for text in texts]
        yield from TextRecorder(self.target, TOKENS, 0.7, 0)(texts)

    def turns(self) -> TurnByTurn:
        return TurnByTurn(
            TALKS,
            MODES,
            load=lambda: self.target,
            room_in=lambda target: self.room,
            kept=self.kept,
            make=self.make,
            made=lambda recording: recording,
            told=lambda done, total, new: self.told.append((done, total)),
        )


def test_every_turn_quotes_what_was_said_before_in_its_mode(target: TargetModel) -> None:
    recorder = Recorder(target)
    found = recorder.turns().run()
    assert [one.prompt_id for one in found] == TURNS * 2
    assert [one.mode for one in found] == ["sample"] * 6 + ["greedy"] * 6
    by_key = {(one.prompt_id, one.mode): one for one in found}
    for mode in MODES:
        said = [by_key[turn, mode].continuation_tokens.tolist() for turn in ("a", "a#1")]
        expected = turn_prompt(target, TALKS[0], said)
        assert by_key["a#2", mode].prompt_tokens.tolist() == list(expected.token_ids)
        assert "w9 w10" in target.tokenizer.decode(by_key["b#1", mode].prompt_tokens), "the answer is recorded"
    assert recorder.told[-1] == (12, 12)
    assert {one.conversation_id for one in found} == {"a", "b", "c"}


def test_what_is_kept_is_not_made_again_wherever_it_was_interrupted(target: TargetModel) -> None:
    whole = Recorder(target)
    expected = whole.turns().run()
    again = Recorder(target)
    again.kept = dict(list(whole.kept.items())[:7])
    assert [one.to_bytes() for one in again.turns().run()] == [one.to_bytes() for one in expected]
    assert len(again.made) == len(expected) - 7
    again.made.clear()
    again.turns().run()
    assert again.made == []


def test_a_turn_without_room_ends_its_conversation_and_is_told(target: TargetModel) -> None:
    recorder = Recorder(target, room=3)
    turns = recorder.turns()
    assert [one.prompt_id for one in turns.run()] == ["a", "b", "c"] * 2
    assert sorted(turns.without_room) == sorted(["a#1", "a#2", "b#1"] * 2)
    assert turns.cut == []
    assert recorder.told[-1] == (6, 6)


def test_a_long_turn_may_be_cut_at_the_front(target: TargetModel) -> None:
    recorder = Recorder(target, room=3, long="cut")
    turns = recorder.turns()
    found = turns.run()
    assert [one.prompt_id for one in found] == TURNS * 2
    assert sorted(turns.cut) == sorted(["a#1", "a#2", "b#1"] * 2)
    assert turns.without_room == []
    assert all(len(one.prompt_tokens) <= 3 for one in found)
