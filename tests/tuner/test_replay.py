"""Replay on a tiny float32 model: what it says of a decode is what a real decode does."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from casspec.runtime.decode import Decoder, Generation
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.latency.timing import RanForward
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies import METHODS, build_policy
from casspec.runtime.policies.base import Policy
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.policies.layer_sparse import LayerSparse
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import CascadeProfile, Mode, SkipSet, TaskCascade
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter, PlanTrace
from casspec.tuner.recordings.plan_traces import TraceShelf, trace_from_bytes, trace_to_bytes
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.replay.overhead import Overhead, Overheads, fit_overhead, measure_overheads
from casspec.tuner.replay.policies import REFUSED, build_replayed, replayable
from casspec.tuner.replay.recorded_sequence import Drafting, KeptNoise, RecordedText
from casspec.tuner.replay.run import ReplayRun, StepCosts
from casspec.tuner.replay.simulate import Replayed, replay
from casspec.tuner.replay.step_probe import COLD_STEPS, Probe
from tests.runtime.own_methods import Copying, CopyingRecordings, empty_registry
from tests.runtime.tiny import cold_matrix, tiny_profile
from tests.tuner.tiny import LAYERS, VOCAB, tiny_recordings, tiny_target

TARGET = tiny_target()
RECORDINGS = tiny_recordings(TARGET, n=4, n_tokens=64)
SPARSE = Plan.skipping(SkipSet(attention=(1,), mlp=(2,)), LAYERS, "sparse")
RETRIEVAL = {
    "autoregressive": {},
    "prompt-lookup": {"max_ngram": 2},
    "suffix": {"factor": 2.0},
    "token-recycling": {"n_nodes": 12, "coupled": True},
    "dytc": {"max_nodes": 12, "correct_latency": False},
}


def forward_ms(plan: Plan, n_tokens: int, context: int) -> float:
    """A forward of the target takes 10 ms and a little a token, of other plans by their sub-layers."""
    return 10.0 * (plan.n_attention + plan.n_mlp) / (2 * LAYERS) + 0.2 * n_tokens


def verify_ms(n_tokens: int, context: int) -> float:
    return forward_ms(TARGET.full_plan, n_tokens, context)


def of_mode(mode: str) -> list[Recording]:
    return [recording for recording in RECORDINGS if recording.mode == mode]


def drafting(plan: Plan, recordings: list[Recording] = RECORDINGS) -> Drafting:
    meter = AcceptanceMeter(TARGET, recordings, candidates=12, probabilities=True)
    traced = TracedPlan({(one.prompt_id, one.mode): meter.depth_profile(plan, i) for i, one in enumerate(recordings)})
    return Drafting(lambda asked: traced, forward_ms)


def decoded(recording: Recording, policy: Policy) -> Generation:
    """The recording's prompt decoded for real."""
    decoder = Decoder(TARGET)
    decoder._policies[recording.mode] = policy
    return decoder.generate(
        recording.prompt_tokens.tolist(),
        max_new_tokens=len(recording.continuation_tokens),
        temperature=recording.temperature,
        seed=recording.seed,
        stop_token_ids=[],
    )


@pytest.mark.parametrize("mode", ["sample", "greedy"])
@pytest.mark.parametrize("method", RETRIEVAL)
def test_retrieval_replays_exactly_as_it_decodes(method: str, mode: str) -> None:
    matrix, parameters = cold_matrix(TARGET).to_bytes(), RETRIEVAL[method]
    for recording in of_mode(mode):
        policy = build_policy(method, TARGET, None, mode, parameters, matrix)
        replayed = replay(policy, [recording], VOCAB, verify_ms)
        real = decoded(recording, build_policy(method, TARGET, None, mode, parameters, matrix))
        assert real.token_ids == recording.continuation_tokens.tolist()
        assert replayed.verify_steps == real.statistics.verify_steps
        assert replayed.tree_nodes - replayed.verify_steps == real.statistics.drafted_tokens
        assert replayed.mean_acceptance_length == real.statistics.mean_acceptance_length


def test_noise_kept_between_replays_is_what_is_made_anew_and_no_more_than_asked_for_is_kept() -> None:
    first, second = of_mode("sample")
    kept = KeptNoise(VOCAB, most_bytes=4 * VOCAB * len(first.continuation_tokens))
    matrix = cold_matrix(TARGET).to_bytes()
    for recording in (first, second, first, second):
        policy = build_policy("dytc", TARGET, None, "sample", {}, matrix)
        assert replay(policy, [recording], VOCAB, verify_ms, noise=kept) == replay(
            policy, [recording], VOCAB, verify_ms
        )
    assert kept.of(first) is kept.of(first)
    assert kept.of(second) is not kept.of(second)
    assert kept.of(of_mode("greedy")[0]) is None


def test_a_chain_of_one_token_replays_exactly_when_it_was_traced_at_that_depth() -> None:
    for place, recording in enumerate(RECORDINGS):
        trace = AcceptanceMeter(TARGET, RECORDINGS).first_token(SPARSE, place)
        traced = TracedPlan({(recording.prompt_id, recording.mode): trace})
        plan_says = Drafting(lambda plan, traced=traced: traced, forward_ms)
        replayed = replay(LayerSparse(SPARSE, 1), [recording], VOCAB, verify_ms, drafting=plan_says)
        real = decoded(recording, LayerSparse(SPARSE, 1)).statistics
        assert (replayed.verify_steps, replayed.drafts) == (real.verify_steps, real.drafted_tokens)


def test_forwards_of_a_plan_are_charged_with_what_they_compute_anew() -> None:
    charged = []

    def draft_ms(plan: Plan, n_tokens: int, context: int) -> float:
        charged.append(n_tokens)
        return 3.0

    said = replace(drafting(SPARSE), draft_ms=draft_ms)
    (first, *_) = RECORDINGS
    free = replay(LayerSparse(SPARSE, 4), [first], VOCAB, verify_ms, drafting=replace(said, draft_ms=lambda *a: 0.0))
    paid = replay(LayerSparse(SPARSE, 4), [first], VOCAB, verify_ms, drafting=said)
    assert set(charged) == {1}, "a chain computes one new row a token"
    assert paid.method_ms == pytest.approx(free.method_ms + 3.0 * paid.drafts)
    assert paid.autoregressive_ms == free.autoregressive_ms


def test_off_the_path_a_plan_is_as_sure_of_itself_as_anywhere() -> None:
    ids = np.array([[1, 2], [3, 4], [5, 6]], np.int32)
    gaps = np.array([[2.0, -2.0], [0.5, -0.5], [1.0, -1.0]], np.float32)
    trace = PlanTrace(ids, gaps, np.array([1, 9, 5], np.int32), np.ones(3, np.int16))
    traced = TracedPlan({("p", "greedy"): trace})
    assert [traced.said(("p", "greedy"), place, 1).tokens for place in (0, 2, 7)] == [[1, 2], [5, 6], [5, 6]]
    assert [traced.astray(draw).gap for draw in range(4)] == pytest.approx([2.0, 0.5, 1.0, 2.0])


@pytest.mark.parametrize("agrees", [True, False])
def test_off_the_path_a_plan_agrees_with_drafted_tokens_as_often_as_on_it(agrees: bool) -> None:
    recording = RECORDINGS[0]
    truth = recording.continuation_tokens
    ids = (truth[:, None] + np.array([[0, 1] if agrees else [1, 2]])).astype(np.int32) % VOCAB
    gaps = np.tile(np.array([1.0, -1.0], np.float32), (len(truth), 1))
    trace = PlanTrace(ids, gaps, truth, np.ones(len(truth), np.int16))
    traced = TracedPlan({(recording.prompt_id, recording.mode): trace})
    text = RecordedText(recording, None, Drafting(lambda plan: traced, forward_ms))
    tree = CandidateTree(text.tokens[-1])
    tree.add(0, int(truth[0]))
    for _ in range(200):
        (on_path,) = text.propose(SPARSE, tree, [0], width=2)
        assert (on_path.tokens[0] == int(truth[0])) is agrees
    wrong = tree.add(0, int(truth[0] + 1) % VOCAB)
    tree.add(wrong, VOCAB + 7)  # nothing the plan would say by itself
    (astray,) = text.propose(SPARSE, tree, [wrong], width=2)
    assert (astray.tokens[0] == VOCAB + 7) is agrees
    assert len(set(astray.tokens)) == len(astray.tokens) == 2


@pytest.fixture(scope="module")
def profile() -> CascadeProfile:
    document = tiny_profile(TARGET).document
    assert document is not None
    return document


@pytest.mark.parametrize("method", [method for method in METHODS if method not in REFUSED])
def test_every_method_but_those_refused_replays_without_the_model(method: str, profile: CascadeProfile) -> None:
    books: dict[str, Drafting] = {}

    def traced(plan: Plan) -> TracedPlan:
        if plan.name not in books:
            TARGET.prepare(plan.precision)
            books[plan.name] = drafting(plan)
        return books[plan.name].traced(plan)

    for mode in ("sample", "greedy"):
        policy = build_replayed(method, profile, mode, None, forward_ms)
        result = replay(policy, of_mode(mode), VOCAB, verify_ms, drafting=Drafting(traced, forward_ms))
        assert result.emitted_tokens == sum(len(one.continuation_tokens) for one in of_mode(mode))
        assert 1 <= result.mean_acceptance_length <= result.tree_nodes / result.verify_steps


@pytest.mark.parametrize("method", [*REFUSED, "nonsense"])
def test_what_cannot_be_replayed_is_refused_by_name(method: str) -> None:
    with pytest.raises(UnsupportedOption, match=f"'{method}'"):
        replayable(["dytc", method])
    assert method not in replayable(None)


def test_a_registered_method_is_replayed_where_it_says_that_it_can_be(
    profile: CascadeProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = empty_registry(monkeypatch)
    registry.register("copying", Copying)
    registry.register("copying-recordings", CopyingRecordings)
    assert "copying-recordings" in replayable(None)
    assert "copying" not in replayable(None)
    with pytest.raises(UnsupportedOption, match="'copying' cannot be replayed: it does not say"):
        replayable(["copying"])
    policy = build_replayed("copying-recordings", profile, "greedy", None, forward_ms)
    result = replay(policy, of_mode("greedy"), VOCAB, verify_ms)
    assert result.emitted_tokens == sum(len(one.continuation_tokens) for one in of_mode("greedy"))


@pytest.mark.parametrize("names", [[], ["autoregressive"]])
def test_a_replay_of_nothing_is_refused(names: list[str]) -> None:
    with pytest.raises(UnsupportedOption, match="no method is named besides autoregressive"):
        replayable(names)


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
    assert many.verify("suffix", "greedy")(3, 0) == pytest.approx(verify_ms(3, 0) + 1 + 8 * 3)


def test_a_cold_beginning_is_paid_once_a_text(profile: CascadeProfile) -> None:
    starts = {"autoregressive": Overhead(start_ms=3), "others": Overhead(start_ms=5)}
    shelf = cast(TraceShelf, lambda plan: pytest.fail("nothing is drafted"))

    def texts(by_mode: dict[Mode, dict[str, Overhead]]) -> list[Replayed]:
        costs = StepCosts(TARGET.full_plan, forward_ms, Overheads(by_mode=by_mode))
        return [replayed for _, replayed in ReplayRun(profile, None, RECORDINGS, shelf, costs).method("suffix").texts]

    for cold, warm in zip(texts({"greedy": starts, "sample": starts}), texts({}), strict=True):
        assert cold.method_ms == pytest.approx(warm.method_ms + 5)
        assert cold.autoregressive_ms == pytest.approx(warm.autoregressive_ms + 3)


def test_the_fit_finds_what_a_step_a_node_and_a_draft_cost() -> None:
    def probe(steps: int, nodes: int, drafts: int) -> Probe:
        return Probe(steps, nodes, drafts, 2.0 * (0.3 * steps + 0.02 * nodes + 0.5 * drafts))

    found = fit_overhead([probe(10, 0, 0), probe(10, 80, 0), probe(10, 30, 20)], slowdown=2.0)
    assert (found.step_ms, found.node_ms, found.draft_ms) == pytest.approx((0.3, 0.02, 0.5))
    floor = fit_overhead([Probe(10, 0, 0, 1.0)], plain=Overhead(step_ms=0.4))
    assert floor.step_ms == pytest.approx(0.4), "no verification costs less than a plain step"


def test_real_decodes_show_what_every_kind_of_method_costs() -> None:
    latency = LatencyPredictor(builtin_latency(TARGET))
    found = measure_overheads(TARGET, RECORDINGS, per_mode=1, n_steps=4, forward_ms=latency.forward_ms)
    for mode in ("sample", "greedy"):
        plain = found.of("autoregressive", mode)
        assert plain.step_ms > 0
        assert found.of("dytc", mode).step_ms >= plain.step_ms
        assert found.of("vertical", mode) == found.of("suffix", mode)
    assert 0.2 < found.plain_slowdown < 5


def test_the_cold_beginning_of_a_decode_is_no_part_of_what_a_step_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, draft, drafted = DyTC.begin, DyTC.draft, [0]

    def begun(policy: DyTC, sequence: Any) -> None:
        drafted[0] = 0
        begin(policy, sequence)

    def slow_at_first(policy: DyTC, sequence: Any, max_depth: int) -> CandidateTree:
        drafted[0] += 1
        time.sleep(0.05 if drafted[0] <= COLD_STEPS else 0)
        return draft(policy, sequence, max_depth)

    monkeypatch.setattr(DyTC, "begin", begun)
    monkeypatch.setattr(DyTC, "draft", slow_at_first)
    found = measure_overheads(TARGET, RECORDINGS, per_mode=1, n_steps=12)
    dytc, others = found.of("dytc", "greedy"), found.of("suffix", "greedy")
    assert dytc.verify_ms(2) < 6
    assert dytc.start_ms == pytest.approx(COLD_STEPS * 50, rel=0.2)
    assert others.start_ms < 100, "only dytc began slowly"


def test_autoregressive_forwards_are_compared_with_the_targets_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single tokens twice as slow as predicted, trees three times: a plain step is taken for two thirds of its prediction."""
    predicted_ms = LatencyPredictor(builtin_latency(TARGET)).forward_ms
    ended = RanForward.ended

    def slowed(forward: RanForward, _: float) -> None:
        times = 2.0 if forward.n_tokens == 1 else 3.0
        ended(forward, times * predicted_ms(TARGET.full_plan, forward.n_tokens, forward.context_tokens))

    monkeypatch.setattr(RanForward, "ended", slowed)
    found = measure_overheads(TARGET, RECORDINGS, per_mode=1, n_steps=12, forward_ms=predicted_ms)
    assert found.plain_slowdown == pytest.approx(2 / 3)


def test_a_trace_survives_being_stored() -> None:
    trace = AcceptanceMeter(TARGET, RECORDINGS, probabilities=True).depth_profile(SPARSE, 1)
    copy = trace_from_bytes(trace_to_bytes(trace))
    for name, value in vars(trace).items():
        assert np.array_equal(getattr(copy, name), value), name
    assert np.all(copy.probabilities <= 1)
