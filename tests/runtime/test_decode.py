"""A decoder as its callers see it: what it takes, what it refuses, and where it stops."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import ContextOverflow, UnsupportedOption
from tests.runtime.tiny import VOCAB, greedy, repetitive_prompt, tiny_profile, tiny_target

CONTEXT = 256


@cache
def target_of(family: str = "llama") -> TargetModel:
    return tiny_target(family, seed=7, attention_bias=family == "llama")


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3_text", "phi3"])
@pytest.mark.parametrize("method", ["autoregressive", "suffix", "lookahead", "static-tree", "dytc"])
def test_text_far_past_a_window_is_the_librarys(family: str, method: str) -> None:
    target, prompt = target_of(family), repetitive_prompt(12, seed=5)
    decoder = Decoder(target, tiny_profile(target), method)
    assert decoder.generate(prompt, 100).token_ids == greedy(target, prompt, 100)


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


def test_by_default_a_profile_decodes_with_what_it_predicts_to_be_fastest_in_each_mode() -> None:
    target, prompt = target_of(), repetitive_prompt(40)
    others = {"sample": {"prompt-lookup": 1.5}}
    profile = tiny_profile(target, predicted_speedup={"greedy": 1.4, "sample": 1.4}, predicted_of_others=others)
    decoder = Decoder(target, profile)
    for temperature, method in ((0.0, "dytc"), (0.7, "prompt-lookup")):
        generation = decoder.generate(prompt, 24, temperature=temperature, seed=3)
        named = Decoder(target, profile, method).generate(prompt, 24, temperature=temperature, seed=3)
        plain = Decoder(target, profile, "autoregressive").generate(prompt, 24, temperature=temperature, seed=3)
        assert generation.statistics.method == named.statistics.method == method
        assert generation.statistics.drafted_by == named.statistics.drafted_by
        assert generation.token_ids == named.token_ids == plain.token_ids
    assert Decoder(target).method_in("sample") == "dytc"
    with pytest.raises(UnsupportedOption, match="max_nodes belong to a method"):
        Decoder(target, profile, parameters={"max_nodes": 8})


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


def test_what_a_step_takes_besides_forwards_is_overhead() -> None:
    statistics = Decoder(target_of(), method="layer-sparse").generate(repetitive_prompt(20), 20).statistics
    assert min(statistics.draft_ms, statistics.verify_ms, statistics.prefill_ms, statistics.overhead_ms) > 0
    parts = statistics.draft_ms + statistics.verify_ms + statistics.overhead_ms
    assert parts == pytest.approx(statistics.decode_ms)
