"""Weights in the order of the native forward: same bits, padded where needed, and refused where it cannot run."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from casspec.runtime.model.lean.eager_forward import EagerForward
from casspec.runtime.model.lean.packed_weights import PackedModel, native_refusal, packed_layer, plain_layer
from casspec.runtime.model.target import TargetModel
from casspec.runtime.native import processor
from casspec.runtime.native.packing import PackedWeight, packed, padded
from casspec.storage.schema import Precision
from tests.runtime.tiny import library_model, run, tiny_target

ROOT = Path(__file__).parents[4]
LINEARS = ("qkv", "output", "gate_up", "down")


@pytest.fixture
def target() -> TargetModel:
    return TargetModel(library_model("qwen2", attention_bias=True).to(torch.bfloat16))


def test_a_layer_comes_back_as_it_was(target: TargetModel) -> None:
    for layer in target.lean.weights.layers:
        found = plain_layer(packed_layer(layer, packed))
        assert all(torch.equal(getattr(found, name), getattr(layer, name)) for name in LINEARS)


def test_gates_and_ups_are_padded_apart_and_what_reads_them_is_padded_too() -> None:
    layer = TargetModel(library_model(mlp_bias=True)).lean.weights.layers[0]
    found = packed_layer(layer, packed)
    inner = padded(48)
    assert found.gate_up.parts == (48, 48)
    assert found.gate_up.columns == 2 * inner
    assert found.down.values.shape[1] == inner
    gate, up = found.gate_up_bias.chunk(2)
    assert torch.equal(torch.cat((gate[:48], up[:48])), layer.gate_up_bias)
    assert not gate[48:].any()
    assert not up[48:].any()


def test_norms_and_biases_are_float32_of_their_own(target: TargetModel) -> None:
    layer = target.lean.weights.layers[0]
    found = packed_layer(layer, packed)
    assert found.attention_norm.dtype == found.qkv_bias.dtype == torch.float32
    layer.attention_norm.fill_(7)
    assert not (found.attention_norm == 7).any()


@pytest.mark.parametrize("tied", [False, True])
def test_one_matrix_for_embedding_and_head_is_packed_once(tied: bool) -> None:
    target = TargetModel(library_model(tie_word_embeddings=tied))
    embedding = target.library_model.model.embed_tokens.weight.detach()
    found = PackedModel(
        target.lean.weights, target.lean.weights.layers, embedding, target.library_model.model.norm.weight.detach()
    )
    assert isinstance(found.embedding, PackedWeight) == tied
    assert (found.embedding is found.weights.head) == tied
    assert not found.released
    assert all(parameter.numel() for parameter in target.library_model.parameters())


def test_refusals_name_their_reason(target: TargetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, sizes = target.lean.weights, target.lean.sizes
    assert "cuda" in (native_refusal(replace(weights, device=torch.device("cuda")), sizes) or "")
    assert "float64" in (native_refusal(replace(weights, dtype=torch.float64), sizes) or "")
    assert "4 heads of 7" in (native_refusal(weights, replace(sizes, head_dim=7)) or "")
    assert "over 3 key heads" in (native_refusal(weights, replace(sizes, kv_heads=3)) or "")
    monkeypatch.setattr(processor, "refusal", lambda: "no such processor")
    assert native_refusal(weights, sizes) == "no such processor"


@torch.inference_mode()
@pytest.mark.parametrize("release", [False, True])
def test_where_native_code_cannot_run_torchs_operators_do(release: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "refusal", lambda: "no such processor")
    target, plain = TargetModel(library_model(), pack=True), tiny_target(pack=False)
    target.pack(release)
    assert not target.is_native
    assert isinstance(target.lean._forwards[Precision.TARGET], EagerForward)
    expected = run(plain, plain.new_cache(64), [1, 2, 3])
    assert torch.equal(run(target, target.new_cache(64), [1, 2, 3]), expected)
    assert all(parameter.numel() for parameter in target.library_model.parameters()), "nothing was let go"


WITHOUT_NUMBA = """
import sys
sys.modules |= {"numba": None, "llvmlite": None}
from tests.runtime.tiny import run, tiny_target
target = tiny_target()
assert not target.is_native
print(run(target, target.new_cache(64), [1, 2, 3]).shape[0])
"""


def test_without_numba_torchs_operators_run() -> None:
    done = subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == ["3"], done.stderr
