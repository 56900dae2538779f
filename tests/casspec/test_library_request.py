"""Which processors of a list become options, and which are called as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.generation import (
    EosTokenCriteria,
    LogitNormalization,
    MaxLengthCriteria,
    MinLengthLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from casspec.library_request import of_row, request_options
from casspec.storage.errors import UnsupportedOption

LENGTH = [MaxLengthCriteria(40), EosTokenCriteria(2)]
PENALTY, RUNS = RepetitionPenaltyLogitsProcessor(1.2), NoRepeatNGramLogitsProcessor(3)
SUPPRESSED = SuppressTokensLogitsProcessor([4])
WARPERS = [TemperatureLogitsWarper(0.7), TopKLogitsWarper(9), TopPLogitsWarper(0.9)]


def read(processors: list[Any], do_sample: bool = True) -> dict[str, Any]:
    options, max_length = request_options(processors, LENGTH, do_sample, 10)
    assert max_length == 40
    assert options.pop("stop_token_ids") == [2]
    assert options.pop("criteria") == ()
    return options


def test_a_list_in_the_librarys_order_needs_no_call() -> None:
    least = MinNewTokensLengthLogitsProcessor(10, 5, torch.tensor([2]))
    found = read([PENALTY, least, SUPPRESSED, *WARPERS, LogitNormalization()])
    assert found == {
        "repetition_penalty": 1.2,
        "min_new_tokens": 5,
        "suppress_tokens": (4,),
        "temperature": 0.7,
        "top_k": 9,
        "top_p": 0.9,
        "processors": (),
    }


def test_what_stands_between_is_called_in_its_place() -> None:
    found = read([PENALTY, RUNS, SUPPRESSED, *WARPERS])
    assert found["processors"] == (RUNS, SUPPRESSED)
    assert (found["repetition_penalty"], found["temperature"]) == (1.2, 0.7)


def test_warpers_out_of_order_are_called_up_to_those_in_order() -> None:
    out_of_order = [TopPLogitsWarper(0.9), TemperatureLogitsWarper(0.5), TopKLogitsWarper(3)]
    found = read(out_of_order)
    assert found["processors"] == (out_of_order[0],)
    assert (found["temperature"], found["top_k"]) == (0.5, 3)
    soft = TopPLogitsWarper(0.9, filter_value=-9.0)
    assert read([soft])["processors"] == (soft,)
    greedy = read(WARPERS, do_sample=False)
    assert (greedy["temperature"], greedy["processors"]) == (0.0, tuple(WARPERS))


def test_of_two_least_lengths_the_longer_counts() -> None:
    lengths = [
        MinLengthLogitsProcessor(18, torch.tensor([2])),
        MinNewTokensLengthLogitsProcessor(10, 1, torch.tensor([2])),
    ]
    assert read(lengths)["min_new_tokens"] == 8


def test_a_penalty_that_ignores_padding_ignores_each_rows_own() -> None:
    penalty = RepetitionPenaltyLogitsProcessor(1.2, torch.tensor([0, 3]))
    options, _ = request_options([penalty], LENGTH, False, 10, [0, 3])
    assert options["repetition_penalty"] == 1.2
    options, _ = request_options([penalty], LENGTH, False, 10, [0, 0])
    assert [of_row(options["processors"], row)[0].prompt_ignore_length for row in (0, 1)] == [0, 3]


def test_ends_of_its_own_are_left_to_the_processor() -> None:
    least = MinNewTokensLengthLogitsProcessor(10, 5, torch.tensor([7]))
    assert read([least])["processors"] == (least,)


def test_a_length_has_to_be_set() -> None:
    with pytest.raises(UnsupportedOption, match="set no length"):
        request_options([], [EosTokenCriteria(2)], False, 10)
