"""Methods side by side: each prompt is decoded by all of them, in shuffled order, before the next prompt.

Both modes take turns within a round, so that a race which is cut short has figures of both. Only prompts that all methods had decoded
count. The first method takes part twice: what it differs by from itself is the noise.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.gpu.forwards import with_graphs
from benchmarks.gpu.stages import Work
from casspec.runtime.decode import Statistics
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import Mode
from casspec.tuner.bench.entries import BOTH_MODES, TextGenerator
from casspec.tuner.bench.requests import Request, generate, request
from casspec.tuner.suites.token_prompts import TokenPrompt

WARM_UP_TOKENS = 8
CAPTURES = 2
"""Times that a text is decoded before its graphs are replayed: a shape is captured when it is seen the second time."""


@dataclass(frozen=True)
class Entrant:
    """Who takes part.

    Attributes:
        method: as tables name it. forwards: "eager", "graphs", or "library" for those of somebody else.
        again: a second measurement of one that takes part already.
    """

    method: str
    forwards: str
    generator: TextGenerator
    modes: tuple[Mode, ...] = BOTH_MODES
    again: bool = False


@dataclass(frozen=True)
class Taken:
    """A text that was decoded, and what it took."""

    entrant: Entrant
    round: int
    request: Request
    statistics: Statistics
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Course:
    """What is decoded: `n_tokens` new tokens after each prompt, in so many rounds."""

    prompts: Sequence[TokenPrompt]
    n_tokens: int
    rounds: int
    seed: int = 0
    modes: tuple[Mode, ...] = BOTH_MODES

    @property
    def context_tokens(self) -> float:
        """Rows that a query attends to, on the average."""
        return sum(len(prompt.token_ids) for prompt in self.prompts) / len(self.prompts) + self.n_tokens / 2


class Race:
    """A race under way."""

    def __init__(self, target: TargetModel, entrants: Sequence[Entrant], course: Course) -> None:
        self._target, self._entrants, self._course = target, list(entrants), course
        self._order = random.Random(course.seed)

    def run(self, work: Work) -> Iterator[list[Taken]]:
        """Warms up, then gives what each prompt took, in one mode after the other, until all rounds are run or time is over."""
        course = self._course
        for mode in course.modes:
            self._warm_up(work, mode)
        for turn in range(course.rounds):
            for prompt in course.prompts:
                for mode in course.modes:
                    if work.is_over:
                        work.note(f"time was over in round {turn + 1} of {course.rounds}")
                        return
                    yield self._decode(request(prompt, mode, course.seed), turn)
            work.tell(f"round {turn + 1} of {course.rounds}")

    def _takes_part(self, mode: Mode) -> list[Entrant]:
        return [entrant for entrant in self._entrants if mode in entrant.modes]

    def _warm_up(self, work: Work, mode: Mode) -> None:
        """Uncounted: the longest prompt at full length, and the beginning of every other."""
        course = self._course
        longest = max(course.prompts, key=lambda prompt: len(prompt.token_ids))
        for prompt in course.prompts:
            asked, n_tokens = request(prompt, mode, course.seed), min(WARM_UP_TOKENS, course.n_tokens)
            for entrant in self._takes_part(mode):
                if entrant.again:
                    continue
                for _ in range(CAPTURES if entrant.forwards == "graphs" else 1):
                    self._generate(entrant, asked, course.n_tokens if prompt is longest else n_tokens)
        work.tell(f"{mode}: warm")

    def _decode(self, asked: Request, turn: int) -> list[Taken]:
        takes_part = self._takes_part(asked.mode)
        self._order.shuffle(takes_part)
        return [self._generate(entrant, asked, self._course.n_tokens, turn) for entrant in takes_part]

    def _generate(self, entrant: Entrant, asked: Request, n_tokens: int, turn: int = -1) -> Taken:
        with with_graphs(self._target, entrant.forwards == "graphs"):
            generation = generate(entrant.generator, asked, asked.prompt, n_tokens)
        return Taken(entrant, turn, asked, generation.statistics, tuple(generation.token_ids))
