"""The scripts in benchmarks/: what they take for granted about the searches they compare."""

from __future__ import annotations

import numpy as np

from benchmarks.search import BOUNDARIES, Bench, FirstTokens, RememberingMeter, Search, rows_of, table
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.storage.schema import SkipSet
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.search.plan_spec import PlanSpec
from tests.tuner.tiny import tiny_recordings, tiny_target

LAYERS = max(BOUNDARIES) + 3


def test_remembered_scores_are_those_of_the_meter() -> None:
    target = tiny_target(n_layers=LAYERS)
    recordings = tiny_recordings(target, n=2, n_tokens=12)
    meter, remembering = AcceptanceMeter(target, recordings), RememberingMeter(target, recordings)
    late, early = LAYERS - 2, 2
    for skip in (
        SkipSet(attention=(late,)),
        SkipSet(mlp=(late,)),
        SkipSet(attention=(early,), mlp=(early, late)),
        SkipSet(attention=(early,), mlp=(early,)),
        SkipSet(attention=(late,)),
    ):
        plan = PlanSpec(skip).plan(LAYERS)
        for index in (0, 1):
            expected, remembered = meter.first_token(plan, index), remembering.first_token(plan, index)
            assert np.array_equal(expected.hits, remembered.hits)
            assert np.array_equal(expected.token_ids[:, :1], remembered.token_ids)
    assert remembering.n_scores == 2 * 4


def test_a_run_tells_the_hypervolume_after_every_trial() -> None:
    target = tiny_target()
    latency = LatencyPredictor(builtin_latency(target))
    tuning, reporting = (
        FirstTokens(target, RememberingMeter(target, tiny_recordings(target, n, 12)), latency, 64) for n in (2, 3)
    )
    bench = Bench(target, tuning, reporting, lambda: [SkipSet(mlp=(2,))])
    run = bench.run(Search("random", knapspec=True, trials=15), seed=0)
    curve = run["hypervolume"]
    assert len(curve) == 15
    assert curve == sorted(curve)
    assert curve[-1] > curve[0] > 0
    (row,) = rows_of([run | {"search": "random, seeds: knapspec"}])
    assert "| random | knapspec | 1 |" in list(table([row]))[-1]
