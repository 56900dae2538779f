"""Every tested family decodes as the library does: logits in a tree, and texts of six methods past the window."""

from __future__ import annotations

import pytest

from casspec.runtime.decode import Decoder
from casspec.runtime.model.generic.families import TESTED
from casspec.runtime.model.target import TargetModel
from casspec.runtime.policies import all_methods
from casspec.storage.errors import UnsupportedOption
from tests.runtime.tiny import greedy, repetitive_prompt, tiny_profile
from tests.runtime.tiny_families import FAMILIES, WINDOW, tiny_model

METHODS = ("autoregressive", "prompt-lookup", "suffix", "layer-sparse", "vc-hc", "dytc")
PROMPT = repetitive_prompt(24, seed=3)
N_TOKENS = 64
NAMES = [family.name for family in FAMILIES]


def test_families_that_are_told_of_are_those_decoded_here() -> None:
    assert {family.model_type for family in FAMILIES} == TESTED


@pytest.mark.parametrize("name", NAMES)
def test_six_methods_write_the_librarys_own_greedy_text(name: str) -> None:
    target = TargetModel(tiny_model(name), backend="generic")
    expected, profile = greedy(target, PROMPT, N_TOKENS), tiny_profile(target)
    assert len(PROMPT) > WINDOW
    assert len(set(expected)) > 1
    texts = {
        method: Decoder(target, method=method, profile=profile).generate(PROMPT, max_new_tokens=N_TOKENS).token_ids
        for method in METHODS
    }
    assert texts == dict.fromkeys(METHODS, expected)


@pytest.mark.parametrize("name", ["gpt_oss", "deepseek_v3", "gemma4_text", "cohere2"])
def test_every_method_writes_the_text_of_plain_decoding(name: str) -> None:
    target = TargetModel(tiny_model(name), backend="generic")
    profile = tiny_profile(target)
    texts: dict[str, list[list[int]]] = {}
    for method in sorted(all_methods().keys() - {"quantised"}):
        decoder = Decoder(target, method=method, profile=profile)
        texts[method] = [
            decoder.generate(PROMPT, 32, temperature=temperature, seed=5).token_ids for temperature in (0.0, 0.8)
        ]
    with pytest.raises(UnsupportedOption, match="kernels of few bits for packed weights alone"):
        Decoder(target, method="quantised", profile=profile)
    assert texts["autoregressive"][0] == greedy(target, PROMPT, 32)
    assert texts == dict.fromkeys(texts, texts["autoregressive"])
