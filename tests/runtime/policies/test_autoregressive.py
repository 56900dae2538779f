"""Autoregressive decoding: nothing is drafted, one step a token."""

from __future__ import annotations

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.policies.autoregressive import Autoregressive
from tests.runtime.drafts import TARGET, drafted
from tests.runtime.tiny import greedy, repetitive_prompt


@pytest.mark.usefixtures("without_gradients")
def test_a_draft_is_the_root_alone() -> None:
    prompt = repetitive_prompt(30)
    assert drafted(Autoregressive(), prompt).tokens == prompt[-1:]


def test_every_step_emits_one_token() -> None:
    prompt = repetitive_prompt(30)
    generation = Decoder(TARGET, method="autoregressive").generate(prompt, 12)
    assert generation.token_ids == greedy(TARGET, prompt, 12)
    assert generation.statistics.verify_steps == 12
    assert generation.statistics.drafted_tokens == 0
