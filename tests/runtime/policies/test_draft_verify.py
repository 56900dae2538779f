"""Chains that end where the plan is unsure: the threshold, and what it ends."""

from __future__ import annotations

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.policies.draft_verify import AdaptiveThreshold
from tests.runtime.tiny import repetitive_prompt, tiny_profile, tiny_target


def test_the_threshold_follows_the_published_rule() -> None:
    threshold = AdaptiveThreshold(start=0.8, goal=0.9, step=0.01, rate_decay=0.5, decay=0.9)
    threshold.update(4, 4, full=False)  # AR .5: too few accepted, stop earlier
    assert threshold.value == pytest.approx(0.801)
    for _ in range(3):
        threshold.update(4, 4, full=False)  # AR .75, .875, .9375
    assert threshold.value == pytest.approx(0.802)
    threshold.update(8, 8, full=True)  # a full chain cannot be made longer
    assert threshold.value == pytest.approx(0.802)
    threshold.update(0, 2, full=True)  # AR .484
    assert threshold.value == pytest.approx(0.803)
    threshold.reset()
    assert threshold.value == 0.8


@pytest.mark.parametrize(("threshold", "n_tokens"), [(0.0, 5), (1.1, 1)])
def test_a_chain_ends_with_the_first_token_under_the_threshold(threshold: float, n_tokens: int) -> None:
    target = tiny_target(seed=7)
    parameters = {"n_tokens": 5, "threshold": threshold, "step": 0.0}
    decoder = Decoder(target, tiny_profile(target), "draft-verify", parameters)
    lengths: list[int] = []
    policy = decoder._policy("greedy")
    observe = policy.observe
    policy.observe = lambda sequence, outcome: (lengths.append(len(outcome.tree) - 1), observe(sequence, outcome))
    decoder.generate(repetitive_prompt(30), 60)
    assert set(lengths[:-5]) == {n_tokens}  # the last ones may not be longer than the request
