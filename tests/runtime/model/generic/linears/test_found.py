"""Linears that others can run are told from those that a model reads, shares, hooks or reaches otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from casspec.runtime.model.generic.backend import GenericBackend
from casspec.runtime.model.generic.linears.found import FoundLinears, found_linears, is_transposed, native_refusal
from casspec.runtime.native import processor
from tests.runtime.tiny_families import tiny_model


def found_in(model: Any) -> FoundLinears:
    return found_linears(GenericBackend(model)._own, model)


def n_linears(model: nn.Module) -> int:
    return sum(type(module) is nn.Linear for module in model.modules())


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "deepseek_v3", "opt-post-norm", "jetmoe"])
def test_every_linear_that_is_called_is_found(name: str) -> None:
    model = tiny_model(name)
    found = found_in(model)
    assert len(found.linears) == n_linears(model)
    assert found.heads == {id(model.lm_head)}


@pytest.mark.parametrize(("name", "n_layer"), [("gpt2", 4), ("falcon", 4)])
def test_linears_of_the_librarys_own_classes_are_found_too(name: str, n_layer: int) -> None:
    found = found_in(tiny_model(name))
    assert len(found.linears) == 4 * n_layer + 1
    assert {is_transposed(linear) for linear in found.linears[:-1]} == {name == "gpt2"}


@pytest.mark.parametrize("tied", [False, True])
def test_a_head_that_is_the_embedding_too_is_separate_where_both_are_only_called(tied: bool) -> None:
    model = tiny_model("llama", tie_word_embeddings=tied)
    found = found_in(model)
    assert found.embedding is model.model.embed_tokens
    assert id(model.lm_head.weight) in found.separate
    assert id(model.model.embed_tokens.weight) in found.separate


class OtherLinear(nn.Linear):
    """A linear of another class."""


def test_a_linear_whose_weight_is_looked_at_is_not_separate_and_one_that_is_not_called_is_not_found() -> None:
    model = tiny_model("llama")
    kind = type(model.model.layers[0].mlp)

    class Peeking(kind):  # type: ignore[misc, valid-type]
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.to(self.gate_proj.weight.dtype)
            gated = self.act_fn(self.gate_proj(x)) * self.up_proj(x)
            return nn.functional.linear(gated, self.down_proj.weight)

    for layer in model.model.layers:
        layer.mlp.__class__ = Peeking
    found = found_in(model)
    linears = {id(linear) for linear in found.linears}
    mlp = model.model.layers[0].mlp
    assert id(mlp.down_proj) not in linears
    assert {id(mlp.gate_proj), id(mlp.up_proj)} <= linears
    assert id(mlp.gate_proj.weight) not in found.separate
    assert id(mlp.up_proj.weight) in found.separate


def test_weights_that_stand_elsewhere_too_are_not_separate() -> None:
    model = tiny_model("llama")
    model.model.layers[0].mlp.other = nn.Embedding(48, 32)
    model.model.layers[0].mlp.other.weight = model.model.layers[0].mlp.up_proj.weight
    model.model.layers[1].mlp.up_proj.weight = model.model.layers[2].mlp.up_proj.weight
    found = found_in(model)
    assert id(model.model.layers[0].mlp.up_proj.weight) not in found.separate
    assert id(model.model.layers[1].mlp.up_proj.weight) in found.separate


def test_linears_that_do_more_are_left_to_the_library() -> None:
    model = tiny_model("llama")
    first, second, third = (model.model.layers[index].mlp.up_proj for index in range(3))
    first.register_forward_hook(lambda *_: None)
    second.forward = second.forward
    third.__class__ = OtherLinear
    linears = {id(linear) for linear in found_in(model).linears}
    assert linears.isdisjoint({id(first), id(second), id(third)})
    assert len(linears) == n_linears(model) - 2, "one is not counted"


def test_refusals_name_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert native_refusal(torch.device("cpu"), torch.float32) is None
    assert "cuda" in (native_refusal(torch.device("cuda"), torch.float32) or "")
    assert "float64" in (native_refusal(torch.device("cpu"), torch.float64) or "")
    monkeypatch.setattr(processor, "refusal", lambda: "no such processor")
    assert native_refusal(torch.device("cpu"), torch.float32) == "no such processor"
