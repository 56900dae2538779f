"""Fused weights: views of the library's own, and only of plain linears."""

from __future__ import annotations

from pathlib import Path

import torch

from casspec.runtime.model.lean.backend import lean_refusal
from casspec.runtime.model.lean.families import FAMILIES
from casspec.runtime.model.lean.weights import MappedFiles, fuse, rounded, special_linears
from tests.runtime.tiny import library_model


def test_linears_that_are_not_plain_are_told() -> None:
    class Adapted(torch.nn.Linear):
        pass

    model = library_model()
    projection = model.model.layers[1].mlp.up_proj
    model.model.layers[1].mlp.up_proj = Adapted(projection.in_features, projection.out_features, bias=False)
    assert special_linears(model.model.layers[0]) is None
    assert "up_proj is a Adapted" in str(special_linears(model.model.layers[1]))
    assert "up_proj is a Adapted" in str(lean_refusal(model))
    model.model.layers[
        1
    ].mlp.up_proj = torch.nn.Identity()  # as linears that keep their weights in buffers, it has none
    assert "up_proj is a Identity over NoneType" in str(lean_refusal(model))


def test_the_librarys_linears_become_views_of_the_fused_weights() -> None:
    layer = library_model(attention_bias=True).model.layers[0]
    parts = [layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj]
    before = torch.cat([part.weight.clone() for part in parts]), torch.cat([part.bias.clone() for part in parts])
    fused = fuse(layer, FAMILIES["llama"])
    assert torch.equal(fused.qkv, before[0])
    assert fused.qkv_bias is not None
    assert torch.equal(fused.qkv_bias, before[1])
    fused.qkv.zero_()
    assert all(not part.weight.any() for part in parts)


def test_fusing_again_takes_no_memory() -> None:
    layer = library_model().model.layers[0]
    first, again = fuse(layer, FAMILIES["llama"]), fuse(layer, FAMILIES["llama"])
    assert (first.qkv.data_ptr(), first.gate_up.data_ptr()) == (again.qkv.data_ptr(), again.gate_up.data_ptr())
    assert torch.equal(first.gate_up, again.gate_up)
    assert again.qkv_bias is None


def test_linears_that_are_fused_already_are_taken_as_they_are() -> None:
    layer = library_model("phi3").model.layers[0]
    fused = fuse(layer, FAMILIES["phi3"])
    assert fused.qkv.data_ptr() == layer.self_attn.qkv_proj.weight.data_ptr()
    assert fused.gate_up.data_ptr() == layer.mlp.gate_up_proj.weight.data_ptr()


def test_norms_kept_as_their_difference_from_one_are_whole_in_float32() -> None:
    layer = library_model("gemma2").to(torch.bfloat16).model.layers[0]
    fused = fuse(layer, FAMILIES["gemma2"])
    assert fused.output_norm is not None
    assert torch.equal(fused.output_norm, 1 + layer.post_attention_layernorm.weight.float())
    assert torch.equal(fused.mlp_norm, 1 + layer.pre_feedforward_layernorm.weight.float())
    assert fuse(library_model().model.layers[0], FAMILIES["llama"]).output_norm is None


def test_a_number_is_rounded_as_a_weight_is() -> None:
    assert rounded(3072**0.5, torch.bfloat16) == 55.5
    assert rounded(1.0, torch.float16) == 1


def test_pages_of_a_mapped_checkpoint_are_let_go_and_read_again(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    wanted = torch.arange(200_000.0)
    save_file({"weight": wanted}, tmp_path / "model.safetensors")
    mapped, elsewhere = load_file(tmp_path / "model.safetensors")["weight"], wanted.clone()
    files = MappedFiles()
    for tensor in (mapped, elsewhere, torch.empty(0)):
        files.let_go(tensor)
    assert torch.equal(mapped, wanted)
    assert torch.equal(elsewhere, wanted), "memory that is no checkpoint's is never touched"
