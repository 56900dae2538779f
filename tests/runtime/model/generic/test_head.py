"""The head alone says of hidden states what the model says of a text."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from casspec.runtime.model.generic.anatomy import anatomy_of
from casspec.runtime.model.generic.head import HeadAlone
from tests.runtime.tiny_families import tiny_model

TOKENS = torch.tensor([[3, 1, 4, 1, 5]])


@torch.inference_mode()
@pytest.mark.parametrize("name", ["llama", "cohere", "gemma2", "granite"])
def test_logits_are_scaled_as_the_model_scales_them(name: str) -> None:
    model = tiny_model(name)
    anatomy = anatomy_of(model)
    hidden = anatomy.body(input_ids=TOKENS, use_cache=False)[0][0]
    expected = model(input_ids=TOKENS, use_cache=False).logits[0]
    torch.testing.assert_close(HeadAlone.of(model, anatomy.path)(hidden), expected)


@torch.inference_mode()
def test_another_linear_makes_the_logits_of_a_changed_head() -> None:
    model = tiny_model("llama")
    head = HeadAlone.of(model, ("model",))
    other = head.changed(lambda module: nn.Identity() if module is model.lm_head else None)
    hidden = torch.randn(3, 32)
    assert torch.equal(other(hidden), hidden)
    assert head(hidden).shape == (3, model.config.vocab_size)
