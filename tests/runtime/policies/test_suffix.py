"""Suffix decoding: what a decoder keeps of earlier outputs, and what it drafts."""

from __future__ import annotations

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.policies.suffix import SuffixDecoding
from tests.runtime.drafts import drafted
from tests.runtime.tiny import repetitive_prompt, tiny_target


def test_a_decoder_that_learns_drafts_from_earlier_outputs() -> None:
    target, prompts = tiny_target(seed=7), [repetitive_prompt(20, seed) for seed in (0, 1, 0)]

    def steps(decoder: Decoder) -> list[int]:
        return [decoder.generate(prompt, 40).statistics.verify_steps for prompt in prompts]

    decoder = Decoder(target, method="suffix")
    cold, warm = steps(decoder), steps(decoder.with_memory())
    assert cold[0] == cold[2] == warm[0]
    assert warm[2] < cold[2]


@pytest.mark.usefixtures("without_gradients")
@pytest.mark.parametrize(("factor", "max_nodes"), [(0.0, 64), (1.0, 64), (4.0, 64), (4.0, 3)])
def test_a_tree_grows_with_the_match_up_to_its_bound(factor: float, max_nodes: int) -> None:
    text = [9, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3]
    tree = drafted(SuffixDecoding(factor=factor, max_nodes=max_nodes), text)
    assert len(tree) - 1 == min(int(factor * 3), max_nodes, 9)  # nine tokens follow the match
    assert tree.tokens[1:] == text[4 : 4 + len(tree) - 1]


@pytest.mark.usefixtures("without_gradients")
def test_what_followed_more_often_comes_first_and_the_unlikely_is_left_out() -> None:
    text = [1, 5, 1, 5, 1, 6, 1, 5, 1]
    likely, both = (
        drafted(SuffixDecoding(factor=9.0, max_match=1, min_probability=share), text, 1) for share in (0.5, 0.1)
    )
    assert likely.tokens[1:] == [5]
    assert both.tokens[1:] == [5, 6]
    assert both.probabilities[1:] == pytest.approx([0.75, 0.25])
