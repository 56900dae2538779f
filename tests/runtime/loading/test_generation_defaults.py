"""A model's own generation config as options of a request."""

from __future__ import annotations

import pytest
from transformers import GenerationConfig

from casspec.runtime.decode import Decoder
from casspec.runtime.loading.generation_defaults import model_defaults
from casspec.runtime.model.target import TargetModel
from tests.runtime.plain_requests import decode_plainly
from tests.runtime.tiny import repetitive_prompt, tiny_target


@pytest.fixture
def target() -> TargetModel:
    return tiny_target(seed=7)


def configured(target: TargetModel, **settings: object) -> TargetModel:
    target.library_model.generation_config = GenerationConfig(**settings)
    return target


def test_a_config_that_samples_gives_all_it_says(target: TargetModel) -> None:
    own = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.1}
    configured(target, **own, eos_token_id=[2, 4], bad_words_ids=[[2], [7, 8]], no_repeat_ngram_size=4)
    found = model_defaults(target)
    processors = found.options.pop("processors")
    assert [type(one).__name__ for one in processors] == ["NoRepeatNGramLogitsProcessor"]
    expected = {name: value for name, value in own.items() if name != "do_sample"}
    assert found.options == {**expected, "bad_words": ((7, 8),)}
    assert found.left_out == ()


def test_a_greedy_config_gives_no_sampling_and_what_is_not_taken_is_named(target: TargetModel) -> None:
    configured(target, temperature=0.3, repetition_penalty=1.2, guidance_scale=2.0, min_length=5, max_new_tokens=9)
    found = model_defaults(target)
    assert found.options == {"temperature": 0.0, "repetition_penalty": 1.2, "max_new_tokens": 9}
    assert found.left_out == ("min_length", "guidance_scale")


def test_the_decoder_takes_them_where_nothing_else_is_said(target: TargetModel) -> None:
    configured(target, do_sample=True, temperature=0.9, repetition_penalty=1.3, max_new_tokens=18, eos_token_id=[3])
    prompt = repetitive_prompt(25)
    options = {"temperature": 0.9, "repetition_penalty": 1.3, "max_new_tokens": 18, "stop_token_ids": [3], "seed": 2}
    found = Decoder(target).generate(prompt, defaults="model", seed=2)
    assert found.token_ids == decode_plainly(target, prompt, options).token_ids
    greedy = Decoder(target).generate(prompt, defaults="model", temperature=0.0)
    del options["temperature"]
    assert greedy.token_ids == decode_plainly(target, prompt, options).token_ids
    assert Decoder(target).generate(prompt, 18).token_ids != greedy.token_ids
