"""What the text does to logits is the same whether it was emitted or is a node's way from the root."""

from __future__ import annotations

import random

import pytest
import torch

from casspec.runtime.text.adjustments import Adjustments, TextAdjustments

VOCAB, ENDS = 23, (5, 6)


def some_adjustments(chance: random.Random) -> Adjustments:
    word = tuple(chance.randrange(VOCAB) for _ in range(chance.randint(1, 3)))
    return Adjustments(
        logit_bias={chance.randrange(VOCAB): 2.5} if chance.random() < 0.5 else {},
        repetition_penalty=chance.choice([1.0, 1.2, 0.7]),
        frequency_penalty=chance.choice([0.0, 0.3]),
        presence_penalty=chance.choice([0.0, -0.4]),
        bad_words=[word] if chance.random() < 0.5 else (),
        min_new_tokens=chance.choice([0, 4]),
        suppress_tokens=[1] if chance.random() < 0.3 else (),
    )


@pytest.mark.parametrize("seed", range(60))
def test_a_way_from_the_root_counts_as_if_it_had_been_emitted(seed: int) -> None:
    chance = random.Random(seed)
    asked = some_adjustments(chance)
    draw = lambda most: [chance.randrange(VOCAB) for _ in range(chance.randint(0, most))]  # noqa: E731
    prompt, emitted = [0, *draw(6)], draw(6)
    suffixes = [draw(5) for _ in range(4)]
    logits = torch.randn(4, VOCAB, generator=torch.Generator().manual_seed(seed))
    kept = logits.clone()

    def text(tokens: list[int]) -> TextAdjustments:
        made = TextAdjustments(asked, prompt, ENDS, VOCAB, torch.device("cpu"))
        made.advance(tokens)
        return made

    together = text(emitted).adjusted(logits, suffixes)
    for row, suffix in enumerate(suffixes):
        alone = text([*emitted, *suffix]).adjusted(logits[row : row + 1], [[]])
        assert torch.equal(together[row], alone[0])
    assert torch.equal(logits, kept), "the model's own logits stay as they are"


def test_nothing_asked_is_nothing_done() -> None:
    assert not Adjustments()
    assert Adjustments(presence_penalty=0.1)
    logits = torch.randn(2, VOCAB)
    plain = TextAdjustments(Adjustments(), [1, 2], ENDS, VOCAB, torch.device("cpu"))
    assert torch.equal(plain.adjusted(logits, [[], [3]]), logits)
