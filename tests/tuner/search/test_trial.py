"""One trial: what a plan is scored on."""

from __future__ import annotations

import pytest

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.storage.schema import SkipSet
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.search.plan_spec import PlanSpec
from casspec.tuner.search.trial import FEWEST_RACED, CandidateEvaluator
from tests.tuner.tiny import tiny_recordings, tiny_target


def test_a_hopeless_plan_is_left_after_a_few_recordings() -> None:
    target = tiny_target()
    recordings = tiny_recordings(target, n=8, n_tokens=16)
    latency = LatencyPredictor(builtin_latency(target))
    evaluator = CandidateEvaluator(target, AcceptanceMeter(target, recordings), latency, context_tokens=64)
    spec = PlanSpec(SkipSet(attention=(1, 2, 3), mlp=(1, 2, 3)))
    full = evaluator.evaluate(spec, "uniform")
    raced = evaluator.evaluate(spec, "uniform", to_beat=0.99)
    assert full.n_tokens == 8 * 16
    assert raced.n_tokens == FEWEST_RACED * 16
    assert raced.acceptance_by_depth == raced.trials_by_depth == ()
    assert len(full.acceptance_by_depth) == 8
    assert len(full.trials_by_depth) == 8
    assert sum(full.trials_by_depth) == 16, "every token of the one recording that is profiled, at one depth"
    assert full.acceptance == pytest.approx(full.acceptance_by_depth[0], abs=0.3)
    assert 0 < full.cost < 1
    assert evaluator.evaluate(PlanSpec(), "uniform").acceptance == 1
