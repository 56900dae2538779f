"""Stages that end in time: each has a share of what is left, and whatever becomes of it, the others go on.

What a stage found stands in its outcome as soon as it is found, and whoever keeps outcomes is told at once.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.gpu.alarm import OutOfTime, at_most

State = Literal["waiting", "running", "done", "stopped", "failed", "skipped", "interrupted"]

Row = dict[str, Any]
"""Figures by name, as JSON values."""

LOOPS = 0.85
"""Share of a stage's time after which it begins nothing new; past the whole of it, it is stopped where it stands."""


@dataclass
class Outcome:
    """What became of a stage.

    Attributes:
        reason: why it is in this state, in one line; "" where it is done.
        rows: figures. notes: what to know about them, a line each.
        trace: of a failure, the whole of it.
    """

    name: str
    state: State = "waiting"
    reason: str = ""
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    trace: str = ""


@dataclass
class Work:
    """What a stage works with: the clock, and where its figures go."""

    outcome: Outcome
    seconds: float
    told: Callable[[], None]
    tell: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._begin = self.clock()

    @property
    def left_s(self) -> float:
        """Until the stage is stopped."""
        return self.seconds - (self.clock() - self._begin)

    @property
    def is_over(self) -> bool:
        """Whether it is too late to begin another round."""
        return self.left_s <= (1 - LOOPS) * self.seconds

    def keep(self, *rows: Row) -> None:
        """Adds figures."""
        self.outcome.rows += rows
        self.told()

    def replace(self, rows: Sequence[Row]) -> None:
        """Puts figures in place of those there were."""
        self.outcome.rows = list(rows)
        self.told()

    def note(self, line: str) -> None:
        """Says what a reader of the figures should know. Said again, it stands there once."""
        if line not in self.outcome.notes:
            self.outcome.notes.append(line)
            self.told()


@dataclass(frozen=True)
class Stage:
    """A part of the run.

    Attributes:
        share: of the time, relative to those of the other stages. least_s: below which it is not begun.
        needs: stages that must be done.
        is_base: without it the others measure nothing, so it may take half of what is left, whatever its share.
    """

    name: str
    run: Callable[[Work], None]
    share: float
    least_s: float = 2.0
    needs: tuple[str, ...] = ()
    is_base: bool = False


class Skipped(Exception):
    """Raised by a stage that has nothing to do here; says why."""


class Stages:
    """A run of stages.

    Args:
        seconds: for all of them. What one leaves is shared by those after it.
        keep: told after every change. tell: told a line of progress.

    Attributes:
        outcomes: of all stages, in their order.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        seconds: float,
        keep: Callable[[], None] = lambda: None,
        tell: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stages, self._keep, self._tell, self._clock = list(stages), keep, tell, clock
        self._end = clock() + seconds
        self.outcomes = [Outcome(stage.name) for stage in stages]

    def run(self) -> bool:
        """Whether all of it ran without Ctrl-C, which ends it."""
        for place, (stage, outcome) in enumerate(zip(self._stages, self.outcomes, strict=True)):
            try:
                self._one(stage, outcome, place)
            except KeyboardInterrupt:
                self._settle(outcome, "interrupted", "by Ctrl-C")
                return False
        return True

    @property
    def succeeded(self) -> bool:
        """Whether none failed, and all that the others need were done to their end."""
        ended = zip(self._stages, self.outcomes, strict=True)
        return all(one.state == "done" if stage.is_base else one.state != "failed" for stage, one in ended)

    def _one(self, stage: Stage, outcome: Outcome, place: int) -> None:
        left = self._end - self._clock()
        refusal = self._refusal(stage, left)
        if refusal:
            self._settle(outcome, "skipped", refusal)
            return
        shares = sum(one.share for one in self._stages[place:])
        seconds = min(left, max(stage.least_s, left * stage.share / shares, left / 2 if stage.is_base else 0))
        outcome.state, begin = "running", self._clock()
        self._tell(f"{stage.name}: at most {seconds:.0f} s")
        self._keep()
        work = Work(outcome, seconds, self._keep, lambda line: self._tell(f"{stage.name}: {line}"), self._clock)
        state: State = "done"
        reason = ""
        try:
            with at_most(seconds):
                stage.run(work)
        except OutOfTime:
            state, reason = "stopped", f"after {seconds:.0f} s; what it had found stands"
        except Skipped as nothing:
            state, reason = "skipped", str(nothing)
        except Exception as error:  # whatever it was, it is of this stage
            state, reason, outcome.trace = "failed", in_one_line(error), traceback.format_exc()
        finally:
            outcome.seconds = self._clock() - begin
        self._settle(outcome, state, reason)

    def _refusal(self, stage: Stage, left_s: float) -> str | None:
        """Why a stage is not begun; None where it is."""
        for name in stage.needs:
            if self._state_of(name) != "done":
                return f"it needs {name}, which {_became(self._state_of(name))}"
        if left_s < stage.least_s:
            return f"it takes {stage.least_s:.0f} s at least, {max(left_s, 0):.0f} s are left"
        return None

    def _state_of(self, name: str) -> State:
        return next((one.state for one in self.outcomes if one.name == name), "skipped")

    def _settle(self, outcome: Outcome, state: State, reason: str) -> None:
        outcome.state, outcome.reason = state, reason
        self._tell(f"{outcome.name}: {told(outcome)}")
        self._keep()


def told(outcome: Outcome) -> str:
    """What became of a stage, in one line."""
    took = f" in {outcome.seconds:.1f} s" if outcome.state in ("done", "failed") else ""
    return f"{outcome.state}{took}" + (f": {outcome.reason}" if outcome.reason else "")


def in_one_line(error: BaseException) -> str:
    """What an error says, its kind first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[:1]])[:300]


def _became(state: State) -> str:
    return {"failed": "failed", "stopped": "was stopped", "skipped": "was skipped"}.get(state, "did not run")
