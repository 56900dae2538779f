"""Rounds: every question to every row in shuffled order, one at a time, so that only one engine computes at any moment."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from benchmarks.peers.engines import Row
from benchmarks.peers.prompts import Question
from benchmarks.peers.worker import WorkerDied

WARM_UP_TOKENS = 16


class Answers(Protocol):
    """What a race needs of a worker."""

    def ask(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request. Raises WorkerDied."""


@dataclass(frozen=True)
class Measurement:
    """One answer. Times in milliseconds from the request on."""

    row: Row
    round: int
    question: Question
    ids: tuple[int, ...]
    first_ms: float
    """Until tokens first came."""
    first_tokens: int
    """That came then."""
    total_ms: float
    """Until the last came."""


@dataclass
class Race:
    """What was measured so far; it can be read while a race runs and after it was interrupted."""

    measurements: list[Measurement] = field(default_factory=list)
    lost: dict[Row, str] = field(default_factory=dict)
    """Rows that took no part or left, with the reason in one line."""

    def lose(self, row: Row, reason: str) -> None:
        """Goes on without a row and says so."""
        self.lost[row] = reason
        print(f"without {row.name}: {reason}", file=sys.stderr, flush=True)

    def warm_up(self, row: Row, worker: Answers, asked: Sequence[Question]) -> bool:
        """A short uncounted answer of each kind; False where the row is lost by it."""
        kinds = {question.kind: question for question in asked}
        try:
            for question in kinds.values():
                worker.ask(question.request() | {"tokens": min(WARM_UP_TOKENS, question.tokens)})
        except WorkerDied as error:
            self.lose(row, str(error))
            return False
        return True

    def run(self, workers: Mapping[Row, Answers], asked: Sequence[Question], rounds: int, seed: int = 0) -> None:
        """Asks all rows that are left, question by question, round by round."""
        shuffle = random.Random(seed).shuffle
        for turn in range(rounds):
            for question in asked:
                order = [row for row in workers if row not in self.lost]
                shuffle(order)
                for row in order:
                    self._ask(row, workers[row], turn, question)
            print(f"round {turn + 1} of {rounds} done", file=sys.stderr, flush=True)

    def _ask(self, row: Row, worker: Answers, turn: int, question: Question) -> None:
        try:
            answer = worker.ask(question.request())
        except WorkerDied as error:
            self.lose(row, str(error))
            return
        times = (answer["first_ms"], answer["first_tokens"], answer["total_ms"])
        self.measurements.append(Measurement(row, turn, question, tuple(answer["ids"]), *times))
