"""Texts of a benchmark are compared with the reference's as they are decoded."""

from __future__ import annotations

from dataclasses import replace

import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.tuner.bench.entries import method_entries, peer_entries
from casspec.tuner.bench.lossless.text_check import TextCheck
from casspec.tuner.bench.requests import decoded, request
from casspec.tuner.bench.run import run_benchmark
from casspec.tuner.suites.token_prompts import TokenPrompt
from tests.tuner.text_generators import Altered, entry, letters_target, prompts, twins, with_wrong_token

N_TOKENS = 16

TIMED_CALLS = (1, 4, 7, 10)
"""Of four repeats, when every timed call follows a warm-up and is followed by one from behind a tie."""


def test_a_benchmark_row_with_a_tie_is_lossless_and_counts_it() -> None:
    target, _, twin = twins(4, N_TOKENS)

    def swap(text: list[int]) -> list[int]:
        return [twin if place == 4 else token for place, token in enumerate(text)]

    tied = Altered(Decoder(target, method="autoregressive"), swap, calls=TIMED_CALLS)
    entries = [*method_entries(target, methods=[]), entry("tied", tied)]
    report = run_benchmark(target, prompts(1), entries, ("greedy",), N_TOKENS, repeats=4)
    row = next(row for row in report.rows if (row.method, row.task) == ("tied", "overall"))
    assert (row.lossless, row.divergences) == (True, 1)


def test_what_ran_decodes_again_behind_the_first_difference(target: TargetModel, asked: list[TokenPrompt]) -> None:
    good = Decoder(target, method="prompt-lookup")
    bad = Altered(Decoder(target, method="prompt-lookup"), lambda text: text[:-1])
    mixed = replace(entry("mixed", good), by_task={asked[0].task: bad})
    found = TextCheck(target)
    right = decoded(good, request(asked[0], "greedy", 0), asked[0].token_ids, 8)
    found.compare(mixed, asked[0].task, request(asked[0], "greedy", 0), right, right[:-1])
    assert found.divergences
    assert found.of(mixed, "greedy") == found.divergences
    assert found.of(mixed, "sample") == ()


def test_a_place_found_in_every_repeat_is_one_divergence_and_equal_texts_are_none(
    target: TargetModel, asked: list[TokenPrompt]
) -> None:
    plain, wanted = Decoder(target, method="autoregressive"), request(asked[0], "greedy", 0)
    text, found = decoded(plain, wanted, wanted.prompt, 8), TextCheck(target)
    found.compare(entry("plain", plain), asked[0].task, wanted, text, list(text))
    assert found.divergences == ()
    for _ in range(2):
        found.compare(entry("plain", plain), asked[0].task, wanted, text, with_wrong_token(3)(text))
    (once,) = found.divergences
    assert (once.difference.place, once.prompt_id) == (3, asked[0].id)
    assert once.listed()["place"] == 3
    assert once.listed()["method"] == "plain"


def test_a_divergence_of_a_peer_or_of_uneven_rows_below_float32_is_no_verdict(target: TargetModel) -> None:
    ours = entry("dytc", Decoder(target, method="dytc"))
    (peer, *_) = peer_entries(target)
    assert TextCheck(target).judges(ours)
    assert not TextCheck(target).judges(peer)
    uneven, even = letters_target(torch.bfloat16), letters_target(torch.bfloat16)
    uneven.rows_are_independent, even.rows_are_independent = False, True
    assert not TextCheck(uneven).judges(ours)
    assert TextCheck(even).judges(ours), "where rows are independent texts must be equal in any precision"
    assert not TextCheck(even).judges(peer)
