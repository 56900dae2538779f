"""A text alone drafts where that is faster, and what little it tries of the other costs little."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from casspec.runtime.batching.stream_gate import MOST_WINDOWS_OFF, TRIED, WINDOW, StreamGate
from casspec.storage.schema import Mode

PLAIN_MS = 10.0


class Stream:
    """Decodes at made-up costs.

    Args:
        accepted: of drafted tokens, on average a step. draft_ms: what drafting and verifying drafts take beside a plain step.
        busy: share of steps that take fifty times as long.
    """

    def __init__(self, seed: int = 0, busy: float = 0.01) -> None:
        self.gate, self.rng, self._busy = StreamGate(), Random(seed), busy
        self.milliseconds = 0.0

    def run(self, n_tokens: int, accepted: float, draft_ms: float, mode: Mode = "sample") -> list[bool]:
        """Whether each step drafted."""
        said, emitted, begin = [], 0, self.milliseconds
        while emitted < n_tokens:
            drafts = self.gate.drafts(mode)
            tokens = 1
            if drafts:
                while self.rng.random() < accepted / (1 + accepted):
                    tokens += 1
            took = (PLAIN_MS + draft_ms * drafts) * self.rng.uniform(0.9, 1.1)
            took *= 50 if self.rng.random() < self._busy else 1
            self.gate.end_step(mode, tokens, took)
            emitted += tokens
            self.milliseconds += took if took < 5 * PLAIN_MS else PLAIN_MS  # those are nobody's fault
            said.append(drafts)
        self.ms_a_token = (self.milliseconds - begin) / emitted
        return said


def share(said: list[bool]) -> float:
    return sum(said) / len(said)


@pytest.mark.parametrize("seed", range(5))
def test_where_drafting_is_clearly_faster_nearly_every_step_drafts(seed: int) -> None:
    assert share(Stream(seed).run(20_000, accepted=1.5, draft_ms=2.0)) > 0.97


@pytest.mark.parametrize("seed", range(5))
def test_where_it_loses_a_text_runs_nearly_as_without(seed: int) -> None:
    stream = Stream(seed, busy=0.0)
    assert share(stream.run(20_000, accepted=0.05, draft_ms=4.0)) < 0.12
    assert stream.ms_a_token < 1.05 * PLAIN_MS


@pytest.mark.parametrize("seed", range(5))
def test_it_never_costs_much_whatever_is_right(seed: int) -> None:
    for accepted, draft_ms in ((0.3, 3.0), (0.31, 3.0), (0.0, 0.3), (0.5, 3.0), (3.0, 10.0)):
        stream = Stream(seed, busy=0.0)
        stream.run(20_000, accepted, draft_ms)
        best = min(PLAIN_MS, (PLAIN_MS + draft_ms) / (1 + accepted))
        assert stream.ms_a_token < 1.05 * best


def test_another_kind_of_text_switches_it_off_and_the_first_kind_on_again() -> None:
    stream = Stream()
    stream.run(5_000, accepted=1.5, draft_ms=2.0)
    stream.run(1_000 + 8 * WINDOW, accepted=0.0, draft_ms=2.0)
    assert not stream.gate.drafts("sample")
    assert share(stream.run(40_000, accepted=0.0, draft_ms=2.0)) < 0.1
    back = stream.run((MOST_WINDOWS_OFF + 4) * WINDOW * 3, accepted=1.5, draft_ms=2.0)
    assert share(back[-200:]) >= 1 - 2 * TRIED / 200


def test_modes_are_judged_apart() -> None:
    stream = Stream()
    stream.run(6_000, accepted=0.0, draft_ms=4.0, mode="sample")
    stream.run(6_000, accepted=2.0, draft_ms=2.0, mode="greedy")
    losing, winning = stream.gate.gain("sample"), stream.gate.gain("greedy")
    assert losing is not None
    assert winning is not None
    assert losing < 0.8
    assert winning > 1.8
    assert share(stream.run(2_000, accepted=0.0, draft_ms=4.0, mode="sample")) < 0.15
    assert share(stream.run(4_000, accepted=2.0, draft_ms=2.0, mode="greedy")) > 0.95


def test_nothing_is_said_before_both_kinds_were_tried() -> None:
    gate = StreamGate()
    assert gate.gain("greedy") is None
    for _ in range(WINDOW):
        assert gate.drafts("greedy")
        gate.end_step("greedy", 2, 10.0)
    assert gate.gain("greedy") is None
    assert not gate.drafts("greedy")


def test_interruptions_do_not_decide() -> None:
    """A step that waited for another program is cut to what is usual."""
    outcomes: list[Callable[[], bool]] = []
    for seed in range(10):
        stream = Stream(seed, busy=0.03)
        stream.run(10_000, accepted=1.0, draft_ms=2.0)
        outcomes.append(lambda stream=stream: (stream.gate.gain("sample") or 0.0) > 1.0)  # type: ignore[misc]
    assert sum(outcome() for outcome in outcomes) >= 9


def test_it_tells_whether_it_is_on_whatever_is_tried_just_now() -> None:
    stream = Stream(busy=0.0)
    assert stream.gate.modes == ()
    assert stream.gate.is_on("greedy")
    stream.run(3_000, accepted=1.5, draft_ms=2.0, mode="greedy")
    stream.run(3_000, accepted=0.0, draft_ms=4.0, mode="sample")
    assert stream.gate.modes == ("greedy", "sample")
    assert stream.gate.is_on("greedy")
    assert not stream.gate.is_on("sample")
