"""dytc replayed with made-up drafters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casspec.storage.schema import Precision
from casspec.tuner.methods.by_replay import by_mode
from casspec.tuner.replay.overhead import Overhead, Overheads
from tests.tuner.made_up_drafters import MODES, replays


def test_replays_begin_at_the_rate_of_retrieval_alone(recordings) -> None:
    """Of the rate depends what a review may cost."""
    replay = replays(
        recordings,
        {"int8": lambda recording: 0.6},
        lambda plan, *_: 10.0 if plan.precision is Precision.TARGET else 4.0,
    )
    alone = by_mode(replay.run((), {}))
    started = replay.started({})
    assert started.start == {mode: alone[mode].speedup for mode in MODES}

    def drafts(start: float) -> int:
        begun = replace(replay, start=dict.fromkeys(MODES, start))
        return sum(replayed.drafts for _, replayed in begun.run(("int8",), {}))

    assert drafts(0.5) > drafts(20.0)


def test_what_steps_take_beside_their_forwards_is_part_of_the_prediction(recordings) -> None:
    """A step of dytc takes as long beside its forward as in it, a plain one nothing: a cascade of retrieval is half as fast."""
    free = replays(recordings, {})
    dear = Overheads(by_mode={mode: {"dytc": Overhead(step_ms=10.0), "autoregressive": Overhead()} for mode in MODES})
    charged = replace(free, tuning=replace(free.tuning, overheads=dear))
    assert charged.score((), {}) == pytest.approx(free.score((), {}) / 2)
