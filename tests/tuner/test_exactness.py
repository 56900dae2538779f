"""Losslessness: ties pass, bugs do not, and nothing hides behind a tie."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from casspec.storage.errors import UnsupportedOption
from casspec.tuner.bench.entries import method_entries
from casspec.tuner.bench.lossless.check import check_lossless
from casspec.tuner.bench.lossless.judge import TIE_GAP, Difference, Judge, first_difference, is_lossless, score_gap
from casspec.tuner.bench.lossless.text_check import TextCheck
from casspec.tuner.bench.requests import decoded, request
from casspec.tuner.bench.run import run_benchmark
from casspec.tuner.suites.token_prompts import TokenPrompt, token_prompts
from tests.tuner.text_generators import ALPHABET, CONTEXT, Altered, entry, letters_target, prompts, with_wrong_token

N_TOKENS = 16
TIMED_CALLS = (1, 4, 7, 10)
"""Of four repeats, when every timed call follows a warm-up and is followed by one from behind a tie."""


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return letters_target()


@pytest.fixture(scope="module")
def asked(target: TargetModel) -> list[TokenPrompt]:
    return token_prompts(target, prompts())


def twins(place: int) -> tuple[TargetModel, int, int]:
    """A target whose greedy text of the first prompt has at `place` a token with an equal twin of higher index."""
    target = letters_target()
    (prompt,) = token_prompts(target, prompts(1))
    text = decoded(Decoder(target, method="autoregressive"), request(prompt, "greedy", 0), prompt.token_ids, N_TOKENS)
    token = text[place]
    twin = next(other for other in range(token + 2, len(ALPHABET)) if other not in text)
    with torch.no_grad():
        target.library_model.lm_head.weight[twin] = target.library_model.lm_head.weight[token]
    return target, token, twin


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
    assert exact.embedding.dtype == torch.float64
    for place, token in enumerate(text):
        prefix = [*wanted.prompt, *text[:place]]
        assert score_gap(exact, prefix, (token,), wanted) == 0.0
        assert score_gap(exact, prefix, (token, (token + 1) % len(ALPHABET)), wanted) > 0.0


def test_a_tie_is_no_bug_and_the_text_behind_it_is_compared_from_the_reference_prefix() -> None:
    target, token, twin = twins(place=4)
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


def test_a_benchmark_row_with_a_tie_is_lossless_and_counts_it() -> None:
    target, _, twin = twins(place=4)

    def swap(text: list[int]) -> list[int]:
        return [twin if place == 4 else token for place, token in enumerate(text)]

    tied = Altered(Decoder(target, method="autoregressive"), swap, calls=TIMED_CALLS)
    entries = [*method_entries(target, methods=[]), entry("tied", tied)]
    report = run_benchmark(target, prompts(1), entries, ("greedy",), N_TOKENS, repeats=4)
    row = next(row for row in report.rows if (row.method, row.task) == ("tied", "overall"))
    assert (row.lossless, row.divergences) == (True, 1)


def test_every_method_is_lossless_over_as_many_tokens_as_asked(target: TargetModel, asked: list[TokenPrompt]) -> None:
    rows = check_lossless(target, asked, method_entries(target), n_tokens=300)
    assert [(row.method, row.mode) for row in rows] == [
        (method, mode) for mode in ("sample", "greedy") for method in METHODS if method != "autoregressive"
    ]
    assert all(row.lossless and row.n_tokens == 300 for row in rows)


def test_sampling_goes_on_with_other_noise_where_greedy_text_is_exhausted(
    target: TargetModel, asked: list[TokenPrompt]
) -> None:
    wanted = 2 * (CONTEXT - len(asked[3].token_ids))
    sampled, greedy = check_lossless(target, asked[3:], method_entries(target, methods=["prompt-lookup"]), wanted)
    assert (sampled.n_tokens, greedy.n_tokens) == (wanted, wanted // 2)
    assert request(asked[3], "sample", 0).seed != request(asked[3], "sample", 0, turn=1).seed


def test_a_lossy_method_fails_the_check_at_its_first_bug(target: TargetModel, asked: list[TokenPrompt]) -> None:
    lossy = Altered(Decoder(target, method="prompt-lookup"), with_wrong_token(7), calls=[1])
    short = Altered(Decoder(target, method="prompt-lookup"), lambda text: text[:-1])
    entries = [*method_entries(target, methods=[]), entry("lossy", lossy), entry("short", short)]
    rows = check_lossless(target, asked, entries, n_tokens=40, modes=("greedy",))
    assert [(row.method, row.lossless) for row in rows] == [("lossy", False), ("short", False)]
    assert (lossy.count, rows[0].n_tokens) == (2, 20)
    assert rows[0].differences[0].place == 7
    assert rows[1].differences[0].found is None


def test_a_task_with_a_cascade_of_its_own_is_checked_with_that(target: TargetModel, asked: list[TokenPrompt]) -> None:
    good, bad = (
        Decoder(target, method="prompt-lookup"),
        Altered(Decoder(target, method="prompt-lookup"), lambda t: t[:-1]),
    )
    mixed = replace(entry("mixed", good), by_task={asked[0].task: bad})
    (row,) = check_lossless(target, asked[:1], [*method_entries(target, methods=[]), mixed], 8, ("greedy",))
    assert not row.lossless
    found = TextCheck(target)
    right = decoded(good, request(asked[0], "greedy", 0), asked[0].token_ids, 8)
    found.compare(mixed, asked[0].task, request(asked[0], "greedy", 0), right, right[:-1])
    assert found.divergences, "what ran decodes again behind the first difference"


def test_the_check_refuses_a_lower_precision() -> None:
    target = letters_target(torch.bfloat16)
    with pytest.raises(UnsupportedOption, match="float32"):
        check_lossless(target, token_prompts(target, prompts()), method_entries(target))
