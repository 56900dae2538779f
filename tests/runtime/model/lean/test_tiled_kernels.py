"""Weights laid out for integer tiles hold what was rounded, in as many bytes as were told."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model.lean.kernels import GROUP_INPUTS, int4_groups, int8_rows
from casspec.runtime.model.lean.tiled_kernels import Int4Native, Int8Native
from casspec.runtime.native.layout import GROUP_BYTES, LANES
from casspec.runtime.native.packing import padded


def weight_of(n_out: int, n_in: int) -> torch.Tensor:
    return torch.randn(n_out, n_in, generator=torch.Generator().manual_seed(n_out))


@pytest.mark.parametrize(("n_out", "n_in"), [(64, 32), (70, 96), (1, 33)])
def test_8_bit_values_scales_and_shifts_are_those_of_the_rows(n_out: int, n_in: int) -> None:
    weight = weight_of(n_out, n_in)
    tiled = Int8Native().pack(weight)
    assert (tiled.columns, tiled.values.nbytes) == (
        padded(n_out),
        Int8Native().n_bytes(padded(n_out), n_in, weight.dtype),
    )
    values, scales = int8_rows(weight)
    n_bytes = -(-n_in // 4) * 4 * LANES
    read = (
        tiled.values[:, :n_bytes].view(torch.int8).view(-1, n_bytes // 4 // LANES, LANES, 4).transpose(1, 2).flatten(2)
    )
    assert torch.equal(read.flatten(0, 1)[:n_out, :n_in], values)
    ends = tiled.values[:, n_bytes:].contiguous()
    assert torch.equal(ends[:, : 4 * LANES].contiguous().view(torch.float32).flatten()[:n_out], scales)
    assert torch.equal(
        ends[:, 4 * LANES :].contiguous().view(torch.int32).flatten()[:n_out], 128 * values.int().sum(1).int()
    )


def test_4_bit_values_scales_and_centres_are_those_of_the_groups() -> None:
    n_out, n_in = 2 * LANES, 3 * GROUP_INPUTS
    weight = weight_of(n_out, n_in)
    tiled = Int4Native().pack(weight)
    assert tiled.values.nbytes == Int4Native().n_bytes(padded(n_out), n_in, weight.dtype)
    values, pairs = int4_groups(weight, torch.bfloat16)
    for row, group in ((0, 0), (LANES - 1, 2), (LANES + 3, 1)):
        block = tiled.values[row // LANES, group * GROUP_BYTES : (group + 1) * GROUP_BYTES]
        lane, found = row % LANES, []
        for quad in range(4):
            word = block[4 * LANES * quad + 4 * lane : 4 * LANES * quad + 4 * lane + 4]
            found += [*(word & 15).tolist(), *(word >> 4).tolist()]
        assert found == values[row, group * GROUP_INPUTS : (group + 1) * GROUP_INPUTS].tolist()
        numbers = block[16 * LANES :].contiguous().view(torch.bfloat16)
        assert (numbers[lane], numbers[LANES + lane]) == tuple(pairs[group, row])


def test_inputs_past_the_weights_own_are_zero() -> None:
    weight = weight_of(2 * LANES, 30)
    padded_inputs = torch.nn.functional.pad(weight, (0, 2))
    assert torch.equal(Int8Native().pack(weight, 32).values, Int8Native().pack(padded_inputs).values)


def test_4_bits_want_whole_groups() -> None:
    assert "48 inputs" in (Int4Native().refuses_shape(64, 48) or "")
    assert Int4Native().refuses_shape(64, 96) is None
