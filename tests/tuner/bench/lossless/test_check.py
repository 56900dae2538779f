"""The check of losslessness runs over as many tokens as asked and ends at the first bug."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import METHODS
from casspec.storage.errors import UnsupportedOption
from casspec.tuner.bench.entries import method_entries
from casspec.tuner.bench.lossless.check import check_lossless
from casspec.tuner.bench.requests import request
from casspec.tuner.suites.token_prompts import TokenPrompt, token_prompts
from tests.tuner.text_generators import CONTEXT, Altered, entry, letters_target, prompts, with_wrong_token


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
    good = Decoder(target, method="prompt-lookup")
    bad = Altered(Decoder(target, method="prompt-lookup"), lambda text: text[:-1])
    mixed = replace(entry("mixed", good), by_task={asked[0].task: bad})
    (row,) = check_lossless(target, asked[:1], [*method_entries(target, methods=[]), mixed], 8, ("greedy",))
    assert not row.lossless


def test_the_check_refuses_a_lower_precision_where_rows_depend_on_each_other() -> None:
    target = letters_target(torch.bfloat16)
    target.rows_are_independent = False
    with pytest.raises(UnsupportedOption, match="float32"):
        check_lossless(target, token_prompts(target, prompts()), method_entries(target))


def test_texts_are_equal_in_bfloat16_where_rows_are_independent() -> None:
    target = letters_target(torch.bfloat16)
    target.pack()
    rows = check_lossless(
        target, token_prompts(target, prompts(2)), method_entries(target, methods=["dytc", "suffix"]), 60
    )
    assert [row.differences for row in rows] == [[]] * len(rows)
