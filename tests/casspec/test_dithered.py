"""Weights off their 4-bit grid: within half a step, the same everywhere, and as far from a grid as trained ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from casspec.dithered import LAYER_LINEAR, dithered, write_dithered
from casspec.runtime.model.lean.kernels import GROUP_INPUTS, int4_groups

NAME = "model.layers.0.mlp.up_proj.weight"


def on_a_grid(n_out: int = 192, n_in: int = 576) -> Tensor:
    """Normal weights as Q4_1 keeps them, in bfloat16."""
    weight = torch.randn(n_out, n_in, generator=torch.Generator().manual_seed(0)) / 10
    values, pairs = int4_groups(weight, weight.dtype)
    return read_back(values, pairs).to(torch.bfloat16)


def read_back(values: Tensor, pairs: Tensor) -> Tensor:
    scales, centres = pairs.float().transpose(0, 1)[..., None].unbind(2)
    return ((values.unflatten(1, (-1, GROUP_INPUTS)) - 8) * scales + centres).flatten(1)


def error_in_4_bits(weight: Tensor) -> float:
    """Of a 4-bit plan's weights, relative to the target's."""
    return float((read_back(*int4_groups(weight, weight.dtype)) - weight.float()).norm() / weight.float().norm())


def test_a_4_bit_plan_of_it_errs_as_one_of_a_trained_model_does() -> None:
    weight = on_a_grid()
    assert error_in_4_bits(weight) < 0.004
    assert error_in_4_bits(dithered(NAME, weight)) == pytest.approx(0.080, abs=0.005)


def test_no_weight_leaves_the_interval_that_rounds_to_it() -> None:
    weight = on_a_grid()
    moved = dithered(NAME, weight)
    assert moved.dtype == torch.bfloat16
    groups = weight.float().unflatten(1, (-1, GROUP_INPUTS))
    steps = (groups.amax(2) - groups.amin(2)) / 15
    share = (moved.float() - weight.float()).unflatten(1, (-1, GROUP_INPUTS)) / steps[..., None]
    assert float(share.abs().max()) < 0.55  # half a step, and what bfloat16 rounds
    assert float(share.std()) == pytest.approx(12**-0.5, rel=0.02)
    assert float(share.mean()) == pytest.approx(0, abs=0.01)


def test_the_name_is_the_seed() -> None:
    weight = torch.linspace(-1, 1, 32).repeat(2, 1)
    assert torch.equal(dithered(NAME, weight), dithered(NAME, weight))
    assert not torch.equal(dithered(NAME, weight), dithered("model.layers.1.mlp.up_proj.weight", weight))
    moves = (dithered(NAME, weight) - weight) * 15 / 2
    assert moves[0, :3].tolist() == pytest.approx([-0.0904, -0.3313, -0.2185], abs=1e-4)


def test_only_the_linears_of_layers_are_moved(tmp_path: Path) -> None:
    linear = on_a_grid(4, 64)
    names = (NAME, "model.layers.10.self_attn.q_proj.weight", "model.embed_tokens.weight", "model.norm.weight")
    source, directory = tmp_path / "source", tmp_path / "dithered"
    source.mkdir()
    directory.mkdir()
    save_file({name: linear.clone() for name in names}, source / "model.safetensors")
    (source / "config.json").write_text("{}")
    write_dithered(source, directory)
    written = load_file(directory / "model.safetensors")
    assert [name for name in names if not torch.equal(written[name], linear)] == list(names[:2])
    assert (directory / "config.json").read_text() == "{}"
    assert not LAYER_LINEAR.fullmatch("model.layers.0.input_layernorm.weight")
