"""What replay chooses: drafters, dytc's parameters, and whether to draft at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from casspec.runtime.decoding.acceptance import CellCounter
from casspec.runtime.latency.predictor import builtin_latency
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import Decision, LatencyModel, Precision, Quantization
from casspec.tuner.cascade.contenders import Contender
from casspec.tuner.cascade.descent import descend
from casspec.tuner.cascade.forecast import Selection, by_batch, forecast, interval, intervals
from casspec.tuner.cascade.per_task import as_served, judge_task, split_by_prompt
from casspec.tuner.cascade.replay import CascadeReplay, Parameters
from casspec.tuner.cascade.selection import LEAST_DRAFTER_GAIN, Choice, Limits, choose, decide, forward_selection
from casspec.tuner.methods.by_replay import Tuning, by_mode
from casspec.tuner.recordings.offline_acceptance import PlanTrace, count_confidence
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.replay.overhead import Overhead, Overheads
from casspec.tuner.replay.simulate import Replayed
from tests.storage import samples
from tests.tuner.tiny import tiny_recordings, tiny_target

PRECISIONS = {"int8": Precision.INT8_DYNAMIC, "int4": Precision.INT4_WEIGHT}
MODES = ("greedy", "sample")


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    """Four prompts, every other one sampled, all of one task."""
    return tiny_recordings(tiny_target(), n=4, n_tokens=48)


def forward_ms(plan: Plan, n_tokens: int, context_tokens: int) -> float:
    """The target takes 10 ms, a drafter 1 ms."""
    return 10.0 if plan.precision is Precision.TARGET else 1.0


def replays(
    recordings: Sequence[Recording],
    right: dict[str, Callable[[Recording], float]],
    latency: Callable[[Plan, int, int], float] = forward_ms,
) -> CascadeReplay:
    """Replays with made-up drafters, each named by its precision, that say the true token with the probability `right` gives."""
    target, rng = tiny_target(), np.random.default_rng(0)
    contenders, traced = {}, {}
    for name, probability in right.items():
        counter, found = CellCounter(), {}
        for recording in recordings:
            truth = recording.continuation_tokens
            wrong = (truth[:, None] + np.array([[1, 2, 3, 4]])) % target.vocab_size
            hits = rng.random(len(truth)) < probability(recording)
            ids = np.where(hits[:, None], np.concatenate((truth[:, None], wrong[:, :3]), 1), wrong).astype(np.int32)
            gaps = np.tile(np.array([2.5, -2.5, -3.0, -4.0], np.float32), (len(truth), 1))
            found[recording.prompt_id, recording.mode] = PlanTrace(ids, gaps, truth, np.ones(len(truth), np.int16))
        count_confidence(found.values(), name, counter)
        quantization = Quantization(precision=PRECISIONS[name], extra_bytes={"int8": 800, "int4": 400}[name])
        mean = float(np.mean([probability(recording) for recording in recordings]))
        contenders[name] = Contender(
            candidate=samples.candidate((), acceptance=mean, quantization=quantization),
            survival={},
            cells=dict.fromkeys(MODES, counter.cells()),
        )
        traced[name] = TracedPlan(found)
    tuning = Tuning(recordings, target.vocab_size, target.full_plan, latency, {})
    return CascadeReplay(tuning, contenders, traced, target.n_layers)


def flat_latency() -> LatencyModel:
    """Of `forward_ms`, at every batch: a forward takes as long as its sub-layers take to launch."""
    target = tiny_target()
    model = builtin_latency(target)
    per_ms = 1.0 / (target.n_layers * model.shape["launch_ms"])
    of_launches = {"attention_launches": 10.0 * per_ms, "int8-dynamic:attention_launches": 1.0 * per_ms}
    return model.model_copy(update={"features": tuple(of_launches), "coefficients": tuple(of_launches.values())})


def test_forward_selection_takes_what_helps_and_no_more() -> None:
    worth = {"a": 0.2, "b": 0.5, "c": 0.01}

    def score(names: Sequence[str]) -> float:
        return 1.0 + sum(worth[name] for name in names)

    assert forward_selection(list(worth), score, score, most=3) == ("b", "a")
    assert forward_selection(list(worth), score, score, most=1) == ("b",)
    assert forward_selection(list(worth), score, score, most=3, fits=lambda names: "b" not in names) == ("a",)
    assert forward_selection(["c"], score, score, most=3) == ()
    assert forward_selection([], score, score, most=3) == ()
    assert forward_selection(list(worth), score, score, most=0) == ()


@pytest.mark.parametrize(("acceptance", "joins"), [(0.98, True), (0.02, False)])
def test_a_drafter_joins_the_cascade_when_replay_is_faster_with_it(recordings, acceptance, joins) -> None:
    replay = replays(recordings, {"int8": lambda recording: acceptance})
    alone, together = replay.score((), {}), replay.score(("int8",), {"max_nodes": 32})
    assert (together > LEAST_DRAFTER_GAIN * alone) is joins
    choice = choose(replay, {}, Limits(seconds=0.0))
    assert choice.drafters == (("int8",) if joins else ())
    found = forecast(replay, choice, {})
    assert found.decision == ("cascade" if joins else "retrieval-only" if alone > LEAST_DRAFTER_GAIN else "off")
    if joins:
        assert together > 2
        assert found.predicted_speedup.keys() == set(MODES)
        assert {mode: list(tasks) for mode, tasks in found.predicted_by_task.items()} == {
            mode: ["task"] for mode in MODES
        }
        assert all(
            low <= found.predicted_speedup[mode] <= high for mode, (low, high) in found.predicted_interval.items()
        )
        assert found.predicted_interval.keys() == set(MODES)
    else:
        assert together > 0.8 * alone  # it is soon known not to be worth its time


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


def test_the_interval_of_a_prediction_holds_what_more_prompts_would_have_given(recordings) -> None:
    """Nine times out of ten; of sixteen prompts a bootstrap is a little too sure."""
    rng = np.random.default_rng(1)

    def results(count: int) -> list[Replayed]:
        return [Replayed(autoregressive_ms=100.0, method_ms=time) for time in rng.lognormal(4.0, 0.35, count)]

    truth = 100.0 / np.exp(4.0 + 0.35**2 / 2)
    held = [low <= truth <= high for low, high in (interval(results(16)) for _ in range(300))]
    assert 0.78 < np.mean(held) < 0.95
    one = [Replayed(autoregressive_ms=30.0, method_ms=15.0)]
    assert intervals([(recordings[0], *one)]) == {}, "one prompt says nothing of others"
    low, high = interval(one * 5)
    assert low == high == 2.0


def test_what_steps_take_beside_their_forwards_is_part_of_the_prediction(recordings) -> None:
    """A step of dytc takes as long beside its forward as in it, a plain one nothing: a cascade of retrieval is half as fast."""
    free = replays(recordings, {})
    dear = Overheads(by_mode={mode: {"dytc": Overhead(step_ms=10.0), "autoregressive": Overhead()} for mode in MODES})
    charged = replace(free, tuning=replace(free.tuning, overheads=dear))
    assert charged.score((), {}) == pytest.approx(free.score((), {}) / 2)


def test_limits_of_memory_and_number_hold(recordings) -> None:
    replay = replays(recordings, {"int8": lambda recording: 0.98, "int4": lambda recording: 0.9})
    assert choose(replay, {}, Limits(most_extra_bytes=800, seconds=0.0)).drafters == ("int8",)
    assert choose(replay, {}, Limits(most_extra_bytes=799, seconds=0.0)).drafters == ("int4",)
    assert choose(replay, {}, Limits(most_extra_bytes=399, seconds=0.0)).drafters == ()
    assert choose(replay, {}, Limits(most_extra_bytes=800, seconds=0.0), beside=("int4",)).drafters == ("int4",)
    assert choose(replay, {}, Limits(most_drafters=0, seconds=0.0)).drafters == ()
    assert replay.extra_bytes(("int8", "int8")) == 800  # weights of one precision are shared


def test_nothing_is_drafted_where_verification_costs_by_the_token(recordings) -> None:
    def by_the_token(plan: Plan, n_tokens: int, context_tokens: int) -> float:
        return 10.0 * n_tokens * (1.0 if plan.precision is Precision.TARGET else 0.9)

    replay = replays(recordings, {"int8": lambda recording: 0.5}, by_the_token)
    found = forecast(replay, choose(replay, {}, Limits(seconds=0.0)), {})
    assert (found.decision, found.drafters) == ("off", ())
    assert set(found.predicted_speedup.values()) == {1.0}


def test_a_batch_is_predicted_for_all_recordings_though_few_are_replayed(recordings) -> None:
    """The drafter is right in the first recordings of each mode, which batches are replayed on, and wrong in as many others."""
    easy = by_task(recordings, ("easy",), copies=3)  # six of each mode, of which five are replayed
    several = [*easy, *by_task(recordings, ("hard",), copies=3)]
    replay = replays(several, {"int8": lambda recording: 0.97 if recording.task == "easy" else 0.3})
    choice = Choice(("int8",), {"max_nodes": 32})
    single = forecast(replay, choice, {})
    on_easy = forecast(replay, choice, {}, easy)
    assert min(on_easy.predicted_speedup[mode] / single.predicted_speedup[mode] for mode in MODES) > 1.2
    one, *more = by_batch(replay, single, choice, {}, flat_latency())
    assert one.speedup == single.predicted_speedup
    assert {batch.decision for batch in more} == {"cascade"}
    for batch in more:
        assert batch.speedup == pytest.approx(single.predicted_speedup, rel=0.02), (
            "no batch costs more than one sequence"
        )


def test_the_decision_is_for_what_clearly_pays() -> None:
    assert decide(2.0, 1.5) == "cascade"
    assert decide(1.51, 1.5) == decide(None, 1.5) == decide(1.2, 1.5) == "retrieval-only"
    assert decide(0.9, 1.0) == decide(None, 0.5) == decide(1.01, 1.0) == "off"


# --------------------------------------------------------------------------------------------------------------- descent


def quality(parameters: dict[str, float]) -> float:
    """Best at a 3, b 20; c makes next to no difference."""
    return 2.0 - 0.1 * abs(parameters["a"] - 3) - 0.01 * abs(parameters["b"] - 20) + 0.001 * parameters["c"]


AXES = {"a": (1, 2, 3, 4), "b": (10, 20, 30), "c": (0, 1)}
START = {"a": 1, "b": 10, "c": 0}


def test_descent_finds_the_best_values_and_leaves_what_makes_no_difference() -> None:
    assert descend(START, AXES, quality, quality, seconds=60.0) == {"a": 3, "b": 20, "c": 0}


def test_descent_keeps_only_what_all_of_the_material_confirms() -> None:
    assert descend(START, AXES, quality, lambda parameters: 1.0, seconds=60.0) == START
    assert descend(START, AXES, lambda parameters: 1.0, quality, seconds=60.0) == START


def test_descent_tries_nothing_new_once_its_time_is_over() -> None:
    times = iter(range(1000))
    tried: list[dict[str, float]] = []

    def score(parameters: dict[str, float]) -> float:
        tried.append(parameters)
        return quality(parameters)

    found = descend(START, AXES, quality, score, seconds=3.0, clock=lambda: float(next(times)))
    assert found == {"a": 3, "b": 10, "c": 0}  # start, then a at 2 and 3
    assert len(tried) == 3


def test_parameters_are_tuned_by_replay(recordings) -> None:
    replay = replays(recordings, {"int8": lambda recording: 0.98})
    start = {"max_nodes": 8, "max_review": 4}
    choice = choose(replay, start, Limits(seconds=60.0))
    assert choice.drafters == ("int8",)
    reviewing = {**start, "max_nodes": 32}
    assert choice.parameters != reviewing
    assert replay.score(("int8",), choice.parameters) > 1.01 * replay.score(("int8",), reviewing)


# -------------------------------------------------------------------------------------------------------------- per task


def selected(decision: Decision, drafters: tuple[str, ...] = (), parameters: Parameters | None = None) -> Selection:
    return Selection(
        drafters=drafters,
        parameters=dict(parameters or {}),
        decision=decision,
        predicted_speedup={},
        predicted_by_task={},
    )


def by_task(recordings: Sequence[Recording], tasks: Sequence[str], copies: int) -> list[Recording]:
    """The recordings once a task and copy, under new names."""
    found = []
    for task in tasks:
        for copy in range(copies):
            for recording in recordings:
                fields = {name: getattr(recording, name) for name in Recording.__dataclass_fields__}
                name = f"{task}/{copy}/{recording.prompt_id}"
                found.append(Recording(**fields | {"task": task, "prompt_id": name}))
    return found


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
