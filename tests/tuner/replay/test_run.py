"""A replay of methods: what their steps cost, and which plans they are offered."""

from __future__ import annotations

from typing import cast

import pytest

from casspec.storage.schema import CascadeProfile, Mode, TaskCascade
from casspec.tuner.recordings.plan_traces import TraceShelf
from casspec.tuner.replay.overhead import Overhead, Overheads
from casspec.tuner.replay.run import FURTHER_TEXT, ReplayRun, StepCosts
from casspec.tuner.replay.simulate import Replayed
from tests.tuner.tiny_replay import RECORDINGS, TARGET, drafting, forward_ms, verify_ms


def test_a_cascade_that_is_off_replays_as_plain_decoding_and_costs_what_that_does(profile: CascadeProfile) -> None:
    dear = {"autoregressive": Overhead(step_ms=1), "dytc": Overhead(step_ms=4)}
    costs = StepCosts(TARGET.full_plan, forward_ms, Overheads(by_mode={"greedy": dear, "sample": dear}))
    off = profile.model_copy(update={"decision": "off"})
    shelf = cast(TraceShelf, lambda plan: pytest.fail("nothing is drafted"))
    rows = ReplayRun(off, None, RECORDINGS, shelf, costs).method("dytc").rows()
    assert {row.mode for row in rows} == {"greedy", "sample"}
    assert {(row.speedup, row.mean_acceptance_length, row.drafts) for row in rows} == {(1, 1, 0)}


def test_the_menu_of_a_task_is_that_of_the_cascade_that_serves_it(profile: CascadeProfile) -> None:
    costs = StepCosts(TARGET.full_plan, forward_ms, Overheads(by_mode={}))
    shelf = cast(TraceShelf, lambda plan: drafting(plan).traced(plan))
    own = TaskCascade(drafters=("lighter",), parameters={}, decision="cascade", predicted_speedup={})
    alone = TaskCascade(drafters=(), parameters={}, decision="retrieval-only", predicted_speedup={})
    told = profile.model_copy(update={"by_task": {"qa": own, "prose": alone}})
    menus = ReplayRun(told, None, RECORDINGS, shelf, costs)
    named = {task: [plan.name for plan, _ in menus._menu("greedy", task).plans] for task in ("qa", "prose", "any")}
    assert named["qa"] == ["lighter"]
    assert named["prose"] == []
    assert {"light", "lighter"} <= set(named["any"])


def test_overhead_makes_a_predicted_speedup_smaller_and_plain_steps_slower() -> None:
    overheads = Overheads(by_mode={"greedy": {"autoregressive": Overhead(step_ms=1), "others": Overhead(step_ms=4)}})
    costs = StepCosts(TARGET.full_plan, forward_ms, overheads)
    verify, plain = costs.verify("suffix", "greedy"), costs.verify("autoregressive", "greedy")
    assert plain(1, 0) == pytest.approx(verify_ms(1, 0) + 1)
    assert verify(3, 0) == pytest.approx(verify_ms(3, 0) + 4)
    assert costs.verify("suffix", "sample")(3, 0) == verify_ms(3, 0), "nothing was measured there"
    steady = overheads.model_copy(update={"plain_slowdown": 0.9})
    costs = StepCosts(TARGET.full_plan, forward_ms, steady)
    assert costs.verify("autoregressive", "greedy")(1, 0) == pytest.approx(0.9 * verify_ms(1, 0) + 1)
    assert costs.verify("suffix", "greedy")(1, 0) == verify(1, 0), "only forwards that follow their like"
    many = StepCosts(TARGET.full_plan, forward_ms, overheads, batch=8)
    assert many.verify("suffix", "greedy")(3, 0) == pytest.approx(verify_ms(3, 0) + 1 + 7 * FURTHER_TEXT + 8 * 3)


def test_a_cold_beginning_is_paid_once_a_text(profile: CascadeProfile) -> None:
    starts = {"autoregressive": Overhead(start_ms=3), "others": Overhead(start_ms=5)}
    shelf = cast(TraceShelf, lambda plan: pytest.fail("nothing is drafted"))

    def texts(by_mode: dict[Mode, dict[str, Overhead]]) -> list[Replayed]:
        costs = StepCosts(TARGET.full_plan, forward_ms, Overheads(by_mode=by_mode))
        return [replayed for _, replayed in ReplayRun(profile, None, RECORDINGS, shelf, costs).method("suffix").texts]

    for cold, warm in zip(texts({"greedy": starts, "sample": starts}), texts({}), strict=True):
        assert cold.method_ms == pytest.approx(warm.method_ms + 5)
        assert cold.autoregressive_ms == pytest.approx(warm.autoregressive_ms + 3)
