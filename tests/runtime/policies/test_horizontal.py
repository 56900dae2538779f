"""The horizontal cascade: strong tokens first, cheap ones behind them."""

from __future__ import annotations

import pytest

from casspec.runtime.policies.horizontal import Horizontal
from tests.runtime.drafts import PLAN, chain_of, drafted, own_tokens, sequence_of, slow_max_gram
from tests.runtime.tiny import repetitive_prompt

pytestmark = pytest.mark.usefixtures("without_gradients")


def test_horizontal_copies_after_the_strong_tokens() -> None:
    prompt = repetitive_prompt(60, 1)
    tokens = chain_of(drafted(Horizontal(PLAN, n_strong=3, n_cheap=5), prompt))
    strong = own_tokens(sequence_of(prompt), [], 3)
    assert tokens == strong + slow_max_gram(prompt, strong, 5, None)
