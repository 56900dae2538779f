"""The dynamic programme over sub-layers."""

from __future__ import annotations

import torch

from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.model.forward_input import bucket
from casspec.storage.schema import SkipSet
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.search.knapspec_plans import knapspec_sets, sub_layer_weights
from casspec.tuner.search.plan_spec import PlanSpec
from tests.tuner.tiny import LAYERS, tiny_recordings, tiny_target


def test_the_programme_gives_a_set_for_every_saving_it_can_reach() -> None:
    target = tiny_target()
    meter = AcceptanceMeter(target, tiny_recordings(target, n=2, n_tokens=16))
    predictor = LatencyPredictor(builtin_latency(target))
    skips = knapspec_sets(target, meter, predictor, 64, [0, 1])
    attention, mlp = sub_layer_weights(predictor, LAYERS, 64)
    saved = [attention * len(skip.attention) + mlp * len(skip.mlp) for skip in skips]
    assert saved == sorted(set(saved))
    assert len(saved) >= 3
    assert all(0 < layer < LAYERS - 1 for skip in skips for layer in skip.attention + skip.mlp)


def test_the_programme_looks_at_states_a_scored_plan_has() -> None:
    from casspec.tuner.search.knapspec_plans import _Texts

    target, n_tokens = tiny_target(), 14
    assert bucket(n_tokens) > n_tokens  # forwards hold rows that are no tokens
    meter = AcceptanceMeter(target, tiny_recordings(target, n=2, n_tokens=n_tokens))
    spec = PlanSpec(SkipSet(attention=(2,), mlp=(1, 3)))
    with torch.inference_mode():
        texts = _Texts(target, meter, [0, 1])
        states = torch.stack([texts.trajectory()[0]] * 2)
        for sub_layer in range(2 * LAYERS):
            layer, is_mlp = divmod(sub_layer, 2)
            if layer not in (spec.skip.mlp if is_mlp else spec.skip.attention):
                states = texts.run(sub_layer, states)
        expected = []
        for index in (0, 1):
            cache, forwards = meter.first_token_inputs(index)
            expected += [target.hidden(inputs, cache, spec.plan(LAYERS))[:n_tokens] for inputs in forwards]
    torch.testing.assert_close(target.normalised(states[1]), torch.cat(expected))
