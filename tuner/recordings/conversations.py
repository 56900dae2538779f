"""Conversations recorded turn by turn: what is answered to a turn is known before the next one can be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field

from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import Mode
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.side_by_side import TextWanted
from casspec.tuner.recordings.traced_plan import RecordingKey
from casspec.tuner.suites.prompts import Prompt
from casspec.tuner.suites.token_prompts import Room, turn_prompt

MakeTexts = Callable[[Sequence[TextWanted]], Iterable[Recording]]
"""The recordings of these texts, in any order."""


@dataclass
class TurnByTurn:
    """Records every turn of some conversations in some modes; those that are kept already are not made again. Run once.

    Attributes:
        load: gives the model, called when a recording is missing. room_in: what a prompt may have in its context.
        kept: recordings there are, by turn and mode; those that are made are added.
        made: takes a new recording and returns the one that counts.
        told: called after every one with how many there are, of how many at most, and the recording, if it is new.
    """

    conversations: Sequence[Prompt]
    modes: Sequence[Mode]
    load: Callable[[], TargetModel]
    room_in: Callable[[TargetModel], Room]
    kept: MutableMapping[RecordingKey, Recording]
    make: MakeTexts
    made: Callable[[Recording], Recording]
    told: Callable[[int, int, Recording | None], None]
    without_room: list[str] = field(default_factory=list)
    """IDs of turns that have none, and of those after them."""
    cut: list[str] = field(default_factory=list)
    """IDs of new recordings whose prompts were cut."""
    _ended: set[RecordingKey] = field(default_factory=set, init=False)
    """Conversations that have no room for another turn."""
    _total: int = field(default=0, init=False)
    _done: int = field(default=0, init=False)

    def run(self) -> list[Recording]:
        """All of them: by mode, conversations in order, their turns in order."""
        self._total = len(self.modes) * sum(len(one.turns) for one in self.conversations)
        for turn in range(max((len(one.turns) for one in self.conversations), default=0)):
            self._record(turn)
        keys = [
            (one.turn_id(turn), mode)
            for mode in self.modes
            for one in self.conversations
            for turn in range(len(one.turns))
        ]
        return [self.kept[key] for key in keys if key in self.kept]

    def _record(self, turn: int) -> None:
        """That turn of all conversations that have it."""
        asked = [
            (one, mode)
            for mode in self.modes
            for one in self.conversations
            if turn < len(one.turns) and (one.id, mode) not in self._ended
        ]
        missing = [(one, mode) for one, mode in asked if (one.turn_id(turn), mode) not in self.kept]
        self._tell(len(asked) - len(missing))
        texts = [text for one, mode in missing if (text := self._text(one, mode, turn)) is not None]
        for recording in self.make(texts) if texts else ():
            counts = self.made(recording)
            self.kept[counts.prompt_id, counts.mode] = counts
            self._tell(1, counts)

    def _text(self, conversation: Prompt, mode: Mode, turn: int) -> TextWanted | None:
        """What to record; None where there is no room for it, which ends the conversation."""
        said = [self.kept[conversation.turn_id(before), mode].continuation_tokens.tolist() for before in range(turn)]
        target = self.load()
        prompt = self.room_in(target).fitted(turn_prompt(target, conversation, said))
        if prompt is None:
            left_out = [conversation.turn_id(later) for later in range(turn, len(conversation.turns))]
            self.without_room += left_out
            self._total -= len(left_out)
            self._ended.add((conversation.id, mode))
            return None
        if prompt.n_cut:
            self.cut.append(prompt.id)
        return TextWanted(prompt.id, prompt.task, prompt.token_ids, mode)

    def _tell(self, count: int, recording: Recording | None = None) -> None:
        self._done += count
        self.told(self._done, self._total, recording)
