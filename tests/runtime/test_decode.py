"""A decoder as its callers see it: what it takes, what it refuses, and where it stops."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import ContextOverflow, UnsupportedOption
from tests.runtime.tiny import VOCAB, greedy, repetitive_prompt, tiny_target

CONTEXT = 256


@cache
def target_of(family: str = "llama") -> TargetModel:
    return tiny_target(family, seed=7, attention_bias=family == "llama")


@pytest.mark.parametrize("n", [CONTEXT, CONTEXT + 7])
def test_a_prompt_that_fills_the_context_is_refused(n: int) -> None:
    with pytest.raises(ContextOverflow, match=f"the prompt has {n} tokens and the model's context is {CONTEXT}"):
        Decoder(target_of()).generate(repetitive_prompt(n), 5)


def test_stop_tokens_are_the_models_own_unless_others_are_named() -> None:
    target = tiny_target(seed=7)
    text = greedy(target, [4, 2], 30)
    target.library_model.generation_config.eos_token_id = [text[5]]
    decoder = Decoder(target)
    end = text.index(text[5]) + 1
    assert decoder.generate([4, 2], 30).token_ids == text[:end]
    assert decoder.generate([4, 2], 30, stop_token_ids=[]).token_ids == text


def test_prompts_come_as_lists_or_tensors() -> None:
    decoder = Decoder(target_of())
    expected = decoder.generate([3, 4, 5], 8).token_ids
    assert decoder.generate(torch.tensor([3, 4, 5]), 8).token_ids == expected
    assert decoder.generate(torch.tensor([[3, 4, 5]]), 8).token_ids == expected


def test_a_request_without_a_seed_draws_one_and_leaves_the_callers_generator() -> None:
    decoder, state = Decoder(target_of()), torch.get_rng_state()
    texts = {tuple(decoder.generate([3, 4, 5], 24, temperature=2.0).token_ids) for _ in range(3)}
    assert len(texts) == 3
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"input_ids": []}, "empty"),
        ({"input_ids": torch.zeros(2, 3, dtype=torch.int64)}, "batch of 2"),
        ({"input_ids": [0, VOCAB]}, f"vocabulary of {VOCAB}"),
        ({"input_ids": [-1]}, "vocabulary"),
        ({"input_ids": [1], "max_new_tokens": -1}, "max_new_tokens"),
        ({"input_ids": [1], "temperature": -1.0}, "temperature"),
    ],
)
def test_requests_that_make_no_sense_are_refused_in_one_line(request_: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedOption, match=named) as refusal:
        Decoder(target_of()).generate(**request_)
    assert "\n" not in str(refusal.value)
