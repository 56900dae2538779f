"""Suffix decoding: what a decoder keeps of earlier outputs, and what it drafts."""

from __future__ import annotations

from casspec.runtime.decode import Decoder
from tests.runtime.tiny import repetitive_prompt, tiny_target


def test_a_decoder_that_learns_drafts_from_earlier_outputs() -> None:
    target, prompts = tiny_target(seed=7), [repetitive_prompt(20, seed) for seed in (0, 1, 0)]

    def steps(decoder: Decoder) -> list[int]:
        return [decoder.generate(prompt, 40).statistics.verify_steps for prompt in prompts]

    decoder = Decoder(target, method="suffix")
    cold, warm = steps(decoder), steps(decoder.with_memory())
    assert cold[0] == cold[2] == warm[0]
    assert warm[2] < cold[2]
