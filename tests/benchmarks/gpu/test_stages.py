"""Stages share their time, and whatever becomes of one, the others run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.gpu.alarm import OutOfTime
from benchmarks.gpu.stages import Skipped, Stage, Stages, Work, in_one_line, told


class Clock:
    """Seconds that pass when it is told so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def takes(clock: Clock, seconds: float, heard: list[float] | None = None) -> Callable[[Work], None]:
    """A stage that takes so long; `heard` gets how long it may."""

    def run(work: Work) -> None:
        if heard is not None:
            heard.append(work.seconds)
        clock.now += seconds

    return run


def states(stages: Stages) -> list[str]:
    return [outcome.state for outcome in stages.outcomes]


def test_what_a_stage_leaves_is_shared_by_those_after_it(clock: Clock) -> None:
    heard: list[float] = []
    parts = [Stage("a", takes(clock, 10, heard), 50), Stage("b", takes(clock, 5, heard), 30)]
    stages = Stages([*parts, Stage("c", takes(clock, 1, heard), 20)], 100, clock=clock)
    assert stages.run()
    assert heard == pytest.approx([50, 90 * 30 / 50, 85])
    assert states(stages) == ["done"] * 3
    assert [outcome.seconds for outcome in stages.outcomes] == [10, 5, 1]


@pytest.mark.parametrize(("seconds", "is_base", "succeeded"), [(150, True, False), (150, False, True), (5, True, True)])
def test_a_run_whose_base_was_stopped_did_not_succeed(seconds: float, is_base: bool, succeeded: bool) -> None:
    def takes_time(work: Work) -> None:
        if seconds > 100:
            raise OutOfTime

    stages = Stages([Stage("a", takes_time, 1, is_base=is_base), Stage("b", lambda work: None, 1)], 100)
    assert stages.run()
    assert stages.succeeded is succeeded


def test_a_stage_that_fails_is_one_line_and_the_others_go_on(clock: Clock) -> None:
    def fails(work: Work) -> None:
        work.keep({"ms": 1.0})
        raise ValueError("no such kernel\nand much more")

    said: list[str] = []
    stages = Stages([Stage("a", fails, 1), Stage("b", takes(clock, 1), 1)], 100, tell=said.append, clock=clock)
    assert stages.run()
    assert states(stages) == ["failed", "done"]
    assert stages.outcomes[0].reason == "ValueError: no such kernel"
    assert "and much more" in stages.outcomes[0].trace
    assert stages.outcomes[0].rows == [{"ms": 1.0}]
    assert "a: failed in 0.0 s: ValueError: no such kernel" in said


def test_a_stage_without_what_it_needs_is_skipped(clock: Clock) -> None:
    def fails(work: Work) -> None:
        raise ValueError

    parts = [Stage("model", fails, 1), Stage("race", takes(clock, 1), 1, needs=("model",))]
    stages = Stages([*parts, Stage("after", takes(clock, 1), 1, needs=("race",))], 100, clock=clock)
    stages.run()
    assert [outcome.reason for outcome in stages.outcomes] == [
        "ValueError",
        "it needs model, which failed",
        "it needs race, which was skipped",
    ]


def test_a_stage_that_would_not_fit_is_skipped_and_a_smaller_one_runs(clock: Clock) -> None:
    parts = [Stage("a", takes(clock, 90), 50), Stage("large", takes(clock, 1), 1, least_s=20)]
    stages = Stages([*parts, Stage("small", takes(clock, 1), 99, least_s=5)], 100, clock=clock)
    stages.run()
    assert states(stages) == ["done", "skipped", "done"]
    assert stages.outcomes[1].reason == "it takes 20 s at least, 10 s are left"


def test_a_small_share_grows_to_what_the_stage_needs(clock: Clock) -> None:
    heard: list[float] = []
    Stages([Stage("a", takes(clock, 1, heard), 1, 30), Stage("b", takes(clock, 1), 99)], 100, clock=clock).run()
    assert heard == [30]


def test_what_the_others_rest_on_may_take_half_of_what_is_left(clock: Clock) -> None:
    heard: list[float] = []
    base = Stage("base", takes(clock, 20, heard), 1, is_base=True)
    Stages([base, Stage("b", takes(clock, 1, heard), 99)], 100, clock=clock).run()
    assert heard == [50, 80]


def test_a_stage_that_does_not_end_is_stopped_and_keeps_its_figures() -> None:
    def endless(work: Work) -> None:
        work.keep({"ms": 1.0})
        while True:
            pass

    stages = Stages([Stage("a", endless, 1, 0.01), Stage("b", lambda work: None, 49, 0.01)], 1)
    assert stages.run()
    assert states(stages) == ["stopped", "done"]
    assert stages.outcomes[0].rows == [{"ms": 1.0}]


def test_an_interruption_ends_the_run_and_keeps_what_there_is(clock: Clock) -> None:
    def interrupted(work: Work) -> None:
        work.keep({"ms": 1.0})
        raise KeyboardInterrupt

    stages = Stages([Stage("a", interrupted, 1), Stage("b", takes(clock, 1), 1)], 100, clock=clock)
    assert not stages.run()
    assert states(stages) == ["interrupted", "waiting"]
    assert stages.outcomes[0].rows == [{"ms": 1.0}]


def test_a_stage_may_say_that_there_is_nothing_to_do(clock: Clock) -> None:
    def skips(work: Work) -> None:
        raise Skipped("nothing to measure here")

    stages = Stages([Stage("a", skips, 1)], 100, clock=clock)
    stages.run()
    assert told(stages.outcomes[0]) == "skipped: nothing to measure here"


def test_every_figure_is_kept_when_it_is_found(clock: Clock) -> None:
    seen: list[list[float]] = []

    def measures(work: Work) -> None:
        work.keep({"ms": 1.0})
        work.replace([{"ms": 2.0}, {"ms": 3.0}])
        work.note("twice")
        work.note("twice")
        assert stages.outcomes[0].notes == ["twice"]

    def keep() -> None:
        found = [row["ms"] for row in stages.outcomes[0].rows]
        if not seen or seen[-1] != found:
            seen.append(found)

    stages = Stages([Stage("a", measures, 1)], 100, keep, clock=clock)
    stages.run()
    assert states(stages) == ["done"]
    assert seen == [[], [1.0], [2.0, 3.0]]


def test_no_round_begins_when_a_stage_is_nearly_over(clock: Clock) -> None:
    def rounds(work: Work) -> None:
        while not work.is_over:
            clock.now += 10

    stages = Stages([Stage("a", rounds, 1)], 100, clock=clock)
    stages.run()
    assert states(stages) == ["done"]
    assert clock.now == 90


def test_an_error_without_words_is_named_by_its_kind() -> None:
    assert in_one_line(KeyError()) == "KeyError"
    assert in_one_line(RuntimeError("\n  out of memory \n more")) == "RuntimeError: out of memory"
