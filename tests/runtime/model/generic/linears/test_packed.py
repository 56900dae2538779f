"""Native linears compute what the library's do, and the library's own weights come back to the last bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from casspec.runtime.model.generic.backend import GenericBackend
from casspec.runtime.model.generic.checks import check
from casspec.runtime.model.generic.linears.found import found_linears
from casspec.runtime.model.generic.linears.packed import NativeLinear, PackedEmbedding, PackedLinears
from casspec.runtime.model.target import TargetModel
from casspec.runtime.native.packing import packed
from tests.runtime.tiny import run
from tests.runtime.tiny_families import tiny_model

TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]
NAMES = [
    "llama",
    "gemma3_text",
    "deepseek_v3",
    "mixtral",
    "gpt_oss",
    "opt-post-norm",
    "cohere",
    "jetmoe",
    "phi",
    "gpt2",
    "falcon",
]


@pytest.fixture(autouse=True)
def no_gradients() -> Any:
    with torch.no_grad():
        yield


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def n_held(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("owned", [False, True])
def test_logits_are_the_librarys(name: str, owned: bool) -> None:
    model, plain = tiny_model(name), tiny_model(name)
    target = TargetModel(model, pack=True, owned=owned, backend="generic")
    assert target.is_native
    expected = plain(input_ids=torch.tensor([TOKENS])).logits[0]
    found = run(target, target.new_cache(64), TOKENS)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "mixtral"])
def test_half_precision_passes_the_checks(name: str) -> None:
    model = tiny_model(name).to(torch.bfloat16)
    backend = GenericBackend(model)
    found = check(backend, model, pack=True, release=True)
    assert backend.is_native
    assert found.largest < found.wrong / 3


@pytest.mark.parametrize("name", [*NAMES, "gemma2"])
def test_weights_that_were_let_go_come_back_and_the_model_computes_what_it_did(name: str) -> None:
    model = tiny_model(name)
    before, expected = weights(model), model(input_ids=torch.tensor([TOKENS])).logits
    target = TargetModel(model, pack=True, owned=True, backend="generic")
    assert n_held(model) < sum(weight.numel() for weight in before.values())
    assert torch.equal(target.library_model(input_ids=torch.tensor([TOKENS])).logits, expected)
    after = weights(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    found = run(target, target.new_cache(64), TOKENS)
    torch.testing.assert_close(found, expected[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gemma3_text"])
def test_an_embedding_that_is_the_head_reads_the_packed_one(name: str) -> None:
    model = tiny_model(name, tie_word_embeddings=True)
    expected = model(input_ids=torch.tensor([TOKENS])).logits
    embedding = model.get_input_embeddings()
    target = TargetModel(model, pack=True, owned=True, backend="generic")
    assert embedding.weight.numel() == 0
    found = run(target, target.new_cache(64), TOKENS)
    torch.testing.assert_close(found, expected[0], atol=1e-4, rtol=1e-4)
    assert torch.equal(target.library_model(input_ids=torch.tensor([TOKENS])).logits, expected)
    assert model.lm_head.weight is embedding.weight


def test_a_looked_up_row_is_the_librarys_whatever_it_does_to_rows() -> None:
    embedding = tiny_model("gemma3_text").get_input_embeddings()
    tokens = torch.tensor([[0, 5, 30], [2, 2, 1]])
    found = PackedEmbedding(embedding, packed(embedding.weight.detach()))
    assert torch.equal(found(tokens), embedding(tokens))
    assert found.num_embeddings == embedding.num_embeddings


class Numbered(nn.Embedding):
    """An embedding that adds the token's number: more than a row."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) + input[..., None]


def test_an_embedding_that_does_more_than_look_up_keeps_its_weight() -> None:
    model = tiny_model("llama", tie_word_embeddings=True)
    model.model.embed_tokens.__class__ = Numbered
    expected = model(input_ids=torch.tensor([TOKENS])).logits
    target = TargetModel(model, pack=True, owned=True, backend="generic")
    assert model.lm_head.weight.numel() > 0
    torch.testing.assert_close(run(target, target.new_cache(64), TOKENS), expected[0], atol=1e-4, rtol=1e-4)


def test_linears_that_share_a_weight_share_the_packed_one() -> None:
    model = tiny_model("llama")
    one, other = (model.model.layers[index].mlp.up_proj for index in (1, 2))
    one.weight = other.weight
    linears = PackedLinears(found_linears(GenericBackend(model)._own, model))
    assert linears.linears[id(one)].packed is linears.linears[id(other)].packed
    assert linears.stand_in(model.model.norm) is None


def wrong(linear: NativeLinear, x: Tensor) -> Tensor:
    return x.new_ones(*x.shape[:-1], linear.shape[0])


def failing(linear: NativeLinear, x: Tensor) -> Tensor:
    raise ValueError("such rows are not served")


@pytest.mark.parametrize("forward", [wrong, failing])
def test_where_native_linears_do_not_pass_the_checks_the_librarys_run(forward: Any, monkeypatch: Any) -> None:
    model, plain = tiny_model("llama"), tiny_model("llama")
    monkeypatch.setattr(NativeLinear, "forward", forward)
    target = TargetModel(model, pack=True, owned=True, backend="generic")
    assert not target.is_native
    assert all(torch.equal(weight, weights(plain)[name]) for name, weight in weights(model).items())
    expected = plain(input_ids=torch.tensor([TOKENS])).logits[0]
    torch.testing.assert_close(run(target, target.new_cache(64), TOKENS), expected, atol=1e-4, rtol=1e-4)
