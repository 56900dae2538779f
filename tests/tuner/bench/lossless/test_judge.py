"""Verdicts on texts: ties pass, bugs do not, and nothing hides behind a tie."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.tuner.bench.lossless.judge import TIE_GAP, Difference, Judge, first_difference, is_lossless, score_gap
from casspec.tuner.bench.requests import decoded, request
from casspec.tuner.suites.token_prompts import TokenPrompt, token_prompts
from tests.tuner.text_generators import ALPHABET, prompts, twins, with_wrong_token

N_TOKENS = 16


def test_first_difference_finds_a_token_or_a_missing_end() -> None:
    assert first_difference([1, 2, 3], [1, 2, 3]) is None
    assert first_difference([1, 2, 3], [1, 9, 3]) == 1
    assert first_difference([1, 2, 3], [1, 2]) == 2
    assert first_difference([1, 2], [1, 2, 3]) == 2


def test_few_ties_are_allowed_and_no_bug_is() -> None:
    tie, bug, cut = Difference(0, 1, 2, TIE_GAP / 2), Difference(0, 1, 2, 2 * TIE_GAP), Difference(3, 1, None, None)
    assert is_lossless([tie, tie], 100)
    assert not is_lossless([tie, tie, tie], 100)
    assert is_lossless([tie] * 5, 1_000_000)
    assert not is_lossless([bug], 1_000_000)
    assert not is_lossless([cut], 1_000_000)


@pytest.mark.parametrize("mode", ["sample", "greedy"])
def test_the_emitted_token_is_the_best_of_the_float64_model_under_the_same_noise(
    target: TargetModel, asked: list[TokenPrompt], mode: Any
) -> None:
    wanted = request(asked[0], mode, seed=3)
    text = decoded(Decoder(target, method="autoregressive"), wanted, wanted.prompt, N_TOKENS)
    exact = Judge(target).exact
    assert exact.dtype == torch.float64
    for place, token in enumerate(text):
        prefix = [*wanted.prompt, *text[:place]]
        assert score_gap(exact, prefix, (token,), wanted) == 0.0
        assert score_gap(exact, prefix, (token, (token + 1) % len(ALPHABET)), wanted) > 0.0


def test_a_tie_is_no_bug_and_the_text_behind_it_is_compared_from_the_reference_prefix() -> None:
    target, token, twin = twins(4, N_TOKENS)
    (prompt,) = token_prompts(target, prompts(1))
    wanted = request(prompt, "greedy", 0)
    reference = decoded(Decoder(target, method="autoregressive"), wanted, wanted.prompt, N_TOKENS)
    assert reference[4] == token
    found = [*reference[:4], twin, *[0] * (N_TOKENS - 5)]
    calls: list[tuple[list[int], int]] = []

    def decode(prompt: list[int], count: int) -> list[int]:
        calls.append((prompt, count))
        return reference[-count:]

    (difference,) = Judge(target).differences(reference, found, wanted, decode)
    assert (difference.place, difference.is_tie) == (4, True)
    assert calls == [([*wanted.prompt, *reference[:5]], N_TOKENS - 5)]

    def decode_wrongly(prompt: list[int], count: int) -> list[int]:
        return with_wrong_token(count - 1)(reference[-count:])

    tie, bug = Judge(target).differences(reference, found, wanted, decode_wrongly)
    assert tie.is_tie
    assert not bug.is_tie
    assert bug.place == N_TOKENS - 1
