"""The parts of models are found by what they do, whatever they are called."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model.generic.anatomy import anatomy_of, text_config
from casspec.runtime.model.kv_cache import LayerRows
from casspec.storage.errors import UnsupportedModel
from tests.runtime.tiny import library_model
from tests.runtime.tiny_families import tiny_model


@pytest.mark.parametrize(
    ("name", "path", "attention", "mlp"),
    [
        ("llama", ("model", "layers"), "self_attn", ("mlp",)),
        ("gpt2", ("transformer", "h"), "attn", ("mlp",)),
        ("gpt_neox", ("gpt_neox", "layers"), "attention", ("mlp",)),
        ("opt", ("model", "decoder", "layers"), "self_attn", ("fc1", "fc2")),
        ("granitemoeshared", ("model", "layers"), "self_attn", ("block_sparse_moe", "shared_mlp")),
        ("ctrl", ("transformer", "h"), "multi_head_attention", ("ffn",)),
    ],
)
def test_parts_are_found_under_any_name(name: str, path: tuple[str, ...], attention: str, mlp: tuple[str, ...]) -> None:
    anatomy = anatomy_of(tiny_model(name))
    assert (*anatomy.path, anatomy.name) == path
    assert len(anatomy.layers) == len(anatomy.parts) == 4
    assert {(part.attention, part.mlp) for part in anatomy.parts} == {(attention, mlp)}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("llama", [LayerRows(2, 8, 2, 8)] * 4),
        ("deepseek_v3", [LayerRows(1, 16, 1, 4)] * 4),
        ("gemma4_text", [LayerRows(2, 8, 2, 8), LayerRows(2, 16, 2, 16)] * 2),
    ],
)
def test_what_a_layer_keeps_of_a_token_is_read_off_its_cache(name: str, rows: list[LayerRows]) -> None:
    assert [part.rows for part in anatomy_of(tiny_model(name)).parts] == rows


def test_watching_changes_nothing() -> None:
    model = library_model()
    ids = torch.tensor([[1, 2, 3]])
    before = {name: id(module) for name, module in model.named_modules()}
    with torch.inference_mode():
        expected = model(ids).logits
        anatomy_of(model)
        assert torch.equal(model(ids).logits, expected)
    assert {name: id(module) for name, module in model.named_modules()} == before


def test_calls_of_layers_are_told_without_running_any() -> None:
    model = library_model()
    with torch.inference_mode():
        calls = anatomy_of(model).calls(input_ids=torch.tensor([[1, 2, 3]]), use_cache=False)
    assert len(calls) == 4
    assert all(torch.equal(call.hidden, model.model.embed_tokens.weight[None, 1:4]) for call in calls)


def test_a_forward_that_hooks_replaced_is_refused() -> None:
    model = library_model()
    layer = model.model.layers[1]
    layer.forward = layer.forward
    with pytest.raises(UnsupportedModel, match=r"hooks have replaced the forward of LlamaDecoderLayer.*on one device"):
        anatomy_of(model)


def test_a_body_alone_is_no_language_model() -> None:
    with pytest.raises(UnsupportedModel, match="LlamaModel has no body with a list of 4 layers"):
        anatomy_of(library_model().model)


def test_the_text_part_of_a_config_is_all_of_most() -> None:
    config = library_model().config
    assert text_config(config) is config
