"""The vertical cascade: the plan's own tokens, in fewer forwards."""

from __future__ import annotations

import pytest

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.policies.vertical import Vertical
from tests.runtime.drafts import PLAN, TARGET, chain_of, drafted, own_tokens, sequence_of
from tests.runtime.tiny import cold_matrix, repetitive_prompt

pytestmark = pytest.mark.usefixtures("without_gradients")


@pytest.mark.parametrize("temperature", [0.0, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_vertical_drafts_the_plans_own_tokens_in_fewer_forwards(seed: int, temperature: float) -> None:
    prompt = repetitive_prompt(60, seed)
    policy = Vertical(PLAN, cold_matrix(TARGET), n_tokens=12)
    tokens = chain_of(drafted(policy, prompt, 40, temperature))
    assert 12 <= len(tokens) <= 12 + 10
    assert tokens == own_tokens(sequence_of(prompt, temperature), [], len(tokens))


def test_a_vertical_round_needs_one_forward_however_much_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = repetitive_prompt(40)
    right = own_tokens(sequence_of(prompt), [], 8)
    policy, forwards = Vertical(PLAN, n_tokens=9), []
    monkeypatch.setattr(policy._bottom, "propose", lambda path, n_tokens: right[len(path) :][:n_tokens])
    propose = Sequence.propose
    monkeypatch.setattr(Sequence, "propose", lambda *args: forwards.append(args) or propose(*args))
    tree = drafted(policy, prompt)
    assert chain_of(tree)[:8] == right
    assert tree.drafters[1:] == ["max-gram"] * 8 + ["light"]
    assert len(forwards) == 1


def test_a_lenient_review_lets_more_of_the_bottom_drafter_stand() -> None:
    def standing(lenience: float) -> int:
        policy = Vertical(PLAN, cold_matrix(TARGET), n_tokens=20, lenience=lenience)
        return sum(drafted(policy, repetitive_prompt(60, seed)).drafters.count("max-gram") for seed in range(8))

    assert standing(8.0) > standing(1.0)
