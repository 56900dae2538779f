"""One trial: what a plan is scored on, and when it is left."""

from __future__ import annotations

import pytest

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.storage.schema import DrafterCandidate, SkipSet
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.trial import FEWEST_UNPAIRED, CandidateEvaluator
from tests.storage import samples
from tests.tuner.tiny import tiny_recordings, tiny_target

N, TOKENS = 8, 16
DEEP = PlanSpec(SkipSet(attention=(1, 2, 3), mlp=(1, 2, 3)))
SHALLOW = PlanSpec(SkipSet(attention=(1,)))


@pytest.fixture
def evaluator() -> CandidateEvaluator:
    target = tiny_target()
    meter = AcceptanceMeter(target, tiny_recordings(target, n=N, n_tokens=TOKENS))
    return CandidateEvaluator(target, meter, LatencyPredictor(builtin_latency(target)), context_tokens=64)


def stranger(acceptance: float) -> DrafterCandidate:
    """A rival that another process evaluated."""
    return samples.candidate((2,), acceptance=acceptance)


def test_a_plan_without_a_rival_is_scored_on_all_recordings_and_by_depth(evaluator) -> None:
    full = evaluator.evaluate(DEEP, "uniform")
    assert full.n_tokens == N * TOKENS
    assert len(full.acceptance_by_depth) == 8
    assert len(full.trials_by_depth) == 8
    assert sum(full.trials_by_depth) == TOKENS, "every token of the one recording that is profiled, at one depth"
    assert full.acceptance == pytest.approx(full.acceptance_by_depth[0], abs=0.3)
    assert 0 < full.cost < 1
    assert evaluator.evaluate(PlanSpec(), "uniform").acceptance == 1


def test_a_hopeless_plan_is_left_after_a_few_recordings(evaluator) -> None:
    raced = evaluator.evaluate(DEEP, "uniform", stranger(0.99))
    assert raced.n_tokens == FEWEST_UNPAIRED * TOKENS
    assert raced.acceptance_by_depth == raced.trials_by_depth == ()


def test_a_rival_on_the_same_tokens_tells_sooner_that_a_plan_is_hopeless(evaluator) -> None:
    rival = evaluator.evaluate(PlanSpec(), "uniform")
    raced = evaluator.evaluate(DEEP, "uniform", rival)
    assert raced.n_tokens < FEWEST_UNPAIRED * TOKENS
    assert raced.acceptance < rival.acceptance
    assert raced.acceptance_by_depth == raced.trials_by_depth == ()


def test_the_acceptance_of_a_plan_that_was_left_is_told_on_its_rivals_scale(evaluator) -> None:
    rival = evaluator.evaluate(PlanSpec(), "uniform").model_copy(update={"acceptance": 0.7})
    seen = evaluator.evaluate(DEEP, "uniform", rival)
    same = evaluator.evaluate(DEEP, "uniform", recordings=seen.n_tokens // TOKENS)
    assert seen.acceptance == pytest.approx(0.7 + same.acceptance - 1), "the rival was always right on these tokens"


def test_a_plan_that_keeps_up_with_its_rival_is_scored_to_the_end(evaluator) -> None:
    rival = evaluator.evaluate(SHALLOW, "uniform")
    equal = evaluator.evaluate(SHALLOW, "uniform", rival)
    ahead = evaluator.evaluate(PlanSpec(), "uniform", rival)
    assert equal.n_tokens == ahead.n_tokens == N * TOKENS
    assert equal.acceptance == rival.acceptance <= ahead.acceptance


def test_a_plan_is_scored_on_as_few_recordings_as_it_may_be(evaluator) -> None:
    few = evaluator.evaluate(SHALLOW, "sensitivity", recordings=3, profile_depths=False)
    assert few.n_tokens == 3 * TOKENS
    assert few.acceptance_by_depth == ()
