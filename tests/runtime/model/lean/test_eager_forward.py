"""The forward by torch's operators, part by part. That families give the library's logits is the matter of test_target.py."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.lean.eager_forward import EagerForward
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import Precision
from tests.runtime.tiny import causal, library_model, masked_input

pytestmark = pytest.mark.usefixtures("without_gradients")
TOKENS = [3, 1, 4, 1, 5, 9]


def forward_of(target: TargetModel) -> EagerForward:
    forward = target.lean._forwards[Precision.TARGET]
    assert isinstance(forward, EagerForward)
    return forward


def given(target: TargetModel, cache: KVCache, tokens: list[int], start: int = 0) -> ForwardInput:
    places = list(range(start, start + len(tokens)))
    return masked_input(target, cache, [tokens], [places], [places], [causal(len(tokens), start)])


@pytest.fixture(params=["llama", "qwen3", "gemma2", "phi3"])
def target(request: pytest.FixtureRequest) -> TargetModel:
    return TargetModel(library_model(request.param))


def test_rows_wanted_are_those_of_all_rows(target: TargetModel) -> None:
    forward, cache, steps = forward_of(target), target.new_cache(64), target.full_plan.steps
    inputs, wanted = given(target, cache, TOKENS), torch.tensor([4, 0])
    whole = forward.logits(inputs, cache, steps)
    torch.testing.assert_close(forward.logits(inputs, cache, steps, wanted), whole[wanted])
    torch.testing.assert_close(forward.read(forward.hidden(inputs, cache, steps)), whole)


def test_no_sub_layer_leaves_the_embedding(target: TargetModel) -> None:
    forward, inputs = forward_of(target), given(target, target.new_cache(64), TOKENS)
    x = forward.embed(inputs)
    assert torch.equal(x, target.library_model.model.embed_tokens(inputs.token_ids[0]))
    assert torch.equal(forward.advanced(x, None, ()), x)


def test_attention_without_rows_is_refused(target: TargetModel) -> None:
    forward, inputs = forward_of(target), given(target, target.new_cache(64), TOKENS)
    with pytest.raises(AssertionError, match="rows"):
        forward.advanced(forward.embed(inputs), None, ((0, True, False),))


def test_layers_that_attend_write_their_rows_alone(target: TargetModel) -> None:
    forward, cache = forward_of(target), target.new_cache(64)
    forward.hidden(given(target, cache, TOKENS), cache, ((0, False, True), (2, True, True)))
    written = [all(bool(part[:6].all()) for part in cache.rows(layer)) for layer in range(4)]
    assert written == [False, False, True, False]
    assert not any(cache.rows(layer)[0][6:64].any() for layer in range(4))


@pytest.mark.parametrize("key_heads", [2, 4])
def test_one_query_in_bfloat16_is_read_as_the_first_of_two_is(key_heads: int) -> None:
    target = TargetModel(library_model(num_key_value_heads=key_heads).to(torch.bfloat16))
    forward, steps = forward_of(target), target.full_plan.steps
    cache, other = target.new_cache(64), target.new_cache(64)
    for each in (cache, other):
        forward.hidden(given(target, each, TOKENS), each, steps)
    alone = forward.hidden(given(target, cache, [2], 6), cache, steps)
    beside = forward.hidden(given(target, other, [2, 6], 6), other, steps)
    torch.testing.assert_close(alone[0], beside[0], atol=0.05, rtol=0.05)


def test_a_cache_has_the_models_dtype() -> None:
    cache = forward_of(TargetModel(library_model().to(torch.float16))).new_cache(128, batch=3)
    assert cache.dtype == torch.float16
    assert [part.shape for part in cache.rows(3)] == [(3 * 129, 2, 8)] * 2
