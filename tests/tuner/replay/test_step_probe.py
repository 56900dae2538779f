"""One short real decode, and what is counted in it."""

from __future__ import annotations

import pytest

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.latency.timing import RanForward
from casspec.runtime.policies.autoregressive import Autoregressive
from casspec.runtime.policies.layer_sparse import LayerSparse
from casspec.tuner.replay.step_probe import COLD_STEPS, Prober
from tests.tuner.tiny_replay import RECORDINGS, SPARSE, TARGET

WARM_STEPS = 4


@pytest.mark.parametrize("recording", RECORDINGS[:2], ids=lambda recording: recording.mode)
def test_a_probe_counts_its_warm_steps_their_nodes_and_the_forwards_of_plans(recording) -> None:
    plain = Prober(TARGET, Autoregressive(), None).run(recording, COLD_STEPS + WARM_STEPS)
    assert (plain.steps, plain.nodes, plain.drafts) == (WARM_STEPS, 0, 0)
    drafting = Prober(TARGET, LayerSparse(SPARSE, 2), None).run(recording, COLD_STEPS + WARM_STEPS)
    assert (drafting.steps, drafting.nodes, drafting.drafts) == (WARM_STEPS, 2 * WARM_STEPS, 2 * WARM_STEPS)
    assert drafting.overhead_ms > 0
    assert drafting.start_ms is not None
    assert drafting.slowdowns == [], "nothing predicts"


def test_a_text_that_is_over_before_it_is_warm_shows_nothing_of_steps() -> None:
    probe = Prober(TARGET, LayerSparse(SPARSE, 2), None).run(RECORDINGS[0], COLD_STEPS)
    assert (probe.steps, probe.nodes, probe.drafts, probe.overhead_ms) == (0, 0, 0, 0)
    assert probe.start_ms is None


def test_a_prober_begins_every_text_anew() -> None:
    prober = Prober(TARGET, Autoregressive(), None)
    counts = [
        prober.run(recording, COLD_STEPS + steps).steps for recording, steps in zip(RECORDINGS, (5, 2), strict=False)
    ]
    assert counts == [5, 2]


def test_slowdowns_are_of_the_targets_own_forwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forwards of the target take twice as long as predicted, those of a plan five times."""
    predicted_ms = LatencyPredictor(builtin_latency(TARGET)).forward_ms
    ended = RanForward.ended

    def slowed(forward: RanForward, milliseconds: float) -> None:
        if forward._named:
            times = 2.0 if forward.plan.name == TARGET.full_plan.name else 5.0
            milliseconds = times * predicted_ms(forward.plan, forward.n_tokens, forward.context_tokens)
        ended(forward, milliseconds)

    monkeypatch.setattr(RanForward, "ended", slowed)
    for policy in (Autoregressive(), LayerSparse(SPARSE, 2)):
        probe = Prober(TARGET, policy, predicted_ms).run(RECORDINGS[0], COLD_STEPS + WARM_STEPS)
        assert probe.slowdowns == pytest.approx([2.0] * WARM_STEPS)
