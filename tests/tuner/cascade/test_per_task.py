"""Tasks with a cascade of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from casspec.storage.schema import Decision
from casspec.tuner.cascade.forecast import Selection
from casspec.tuner.cascade.per_task import as_served, judge_task, split_by_prompt
from casspec.tuner.cascade.replay import Parameters
from casspec.tuner.cascade.selection import Limits
from casspec.tuner.methods.by_replay import Tuning, by_mode
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.replay.overhead import Overhead, Overheads
from tests.tuner.made_up_drafters import MODES, by_task, forward_ms, replays
from tests.tuner.tiny import tiny_target


def selected(decision: Decision, drafters: tuple[str, ...] = (), parameters: Parameters | None = None) -> Selection:
    return Selection(
        drafters=drafters,
        parameters=dict(parameters or {}),
        decision=decision,
        predicted_speedup={},
        predicted_by_task={},
    )


def test_only_a_task_that_gains_on_held_out_recordings_gets_its_own_cascade(recordings) -> None:
    """int4 knows one task, int8 the other; the cascade for all has int8 alone."""
    several = by_task(recordings, ("code", "prose"), copies=1)

    def knows(task: str) -> Callable[[Recording], float]:
        return lambda recording: 0.97 if recording.task == task else 0.05

    replay = replays(several, {"int8": knows("prose"), "int4": knows("code")})
    for_all, limits = selected("cascade", ("int8",), {"max_nodes": 32}), Limits(most_drafters=1, seconds=0.0)
    code = judge_task(replay, "code", for_all, {}, limits)
    assert code.own is not None
    assert code.gain > 1.5
    assert code.own.drafters == ("int4",)
    assert code.own.decision == "cascade"
    assert all(speedup > 1.5 for speedup in code.own.predicted_speedup.values())
    prose = judge_task(replay, "prose", for_all, {}, limits)
    assert prose.own is None
    assert prose.gain == pytest.approx(1.0, abs=0.03)
    served = as_served(replay, for_all, {"code": code, "prose": prose})
    assert (served.drafters, served.decision) == (for_all.drafters, for_all.decision)
    general, own = (by_mode(replay.run(names, {"max_nodes": 32}, several)) for names in (("int8",), ("int4",)))
    for mode, speedup in served.predicted_speedup.items():
        assert speedup > 1.2 * max(general[mode].speedup, own[mode].speedup), "each is good at one task"
        low, high = served.predicted_interval[mode]
        assert low <= speedup <= high


def test_a_task_of_one_prompt_cannot_be_judged(recordings) -> None:
    replay = replays(recordings[:1], {"int8": lambda recording: 0.9})
    assert judge_task(replay, "task", selected("retrieval-only"), {}, Limits(seconds=0.0)).gain is None


def test_a_task_is_judged_against_plain_decoding_where_that_is_what_all_tasks_get(recordings) -> None:
    """With the same cascade for all a task gains nothing of its own; where all decode plainly it gains all of it."""
    replay, limits = replays(recordings, {"int8": lambda recording: 0.97}), Limits(seconds=0.0)
    same = judge_task(replay, "task", selected("cascade", ("int8",), {"max_nodes": 32}), {}, limits)
    assert (same.gain, same.own) == (pytest.approx(1.0, abs=0.03), None)
    off = judge_task(replay, "task", selected("off"), {}, limits)
    assert off.own is not None
    assert off.gain == pytest.approx(replay.score(("int8",), {"max_nodes": 32}), rel=0.05)


def test_a_task_may_decode_plainly_where_the_cascade_for_all_costs_it_time(recordings) -> None:
    free = replays(recordings, {"int8": lambda recording: 0.02})
    dear = Overheads(by_mode={mode: {"dytc": Overhead(step_ms=30.0), "autoregressive": Overhead()} for mode in MODES})
    replay = replace(free, tuning=replace(free.tuning, overheads=dear))
    verdict = judge_task(replay, "task", selected("cascade", ("int8",)), {}, Limits(seconds=0.0))
    assert verdict.own is not None
    assert (verdict.own.decision, set(verdict.own.predicted_speedup.values())) == ("off", {1.0})


def test_both_modes_of_a_prompt_are_on_one_side(recordings) -> None:
    several = by_task(recordings, ("code",), copies=3)
    doubled = [*several, *several]
    first, second = split_by_prompt(doubled)
    assert len(first) + len(second) == len(doubled)
    assert not {one.prompt_id for one in first} & {one.prompt_id for one in second}
    tuning = Tuning(doubled, 53, tiny_target().full_plan, forward_ms, {})
    assert set(tuning.half_of.values()) == {0, 1}
