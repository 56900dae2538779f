"""exp by vectors is right to a unit in the last place, and what uses it ends where it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numba import njit

from casspec.runtime.native import exponentials
from casspec.runtime.native.layout import LANES


@njit
def all_exponentials(x: int, n: int) -> None:
    for i in range(0, n, LANES):
        exponentials.exponential(x + 4 * i)


@njit
def all_gates(x: int, ups: int, n: int) -> None:
    for i in range(0, n, LANES):
        exponentials.gate(x + 4 * i, ups + 4 * i)


@njit
def all_gelus(x: int, ups: int, n: int, approximate: bool) -> None:
    for i in range(0, n, LANES):
        if approximate:
            exponentials.gelu_tanh_gate(x + 4 * i, ups + 4 * i)
        else:
            exponentials.gelu_gate(x + 4 * i, ups + 4 * i)


@njit
def all_capped(x: int, n: int, largest: Any) -> None:
    for i in range(0, n, LANES):
        exponentials.cap(x + 4 * i, largest)


@njit
def all_weights(x: int, n: int, top: Any) -> None:
    for i in range(0, n, LANES):
        exponentials.weight(x + 4 * i, top)


def test_exponentials_are_right_to_a_unit_in_the_last_place() -> None:
    x = torch.linspace(-87, 88, 2_000_000 // LANES * LANES)
    x[:4] = torch.tensor([0, 1e-30, -1e-30, 88])
    expected = torch.exp(x.double())
    all_exponentials(x.data_ptr(), len(x))
    assert float((x / expected - 1).abs().max()) < 2**-23
    assert x[0] == 1


def test_a_gate_is_silu_times_up_for_numbers_of_any_size() -> None:
    x = torch.cat((torch.linspace(-200, 200, 64 * LANES - 2), torch.tensor([-1e4, 1e4])))
    ups = torch.linspace(-3, 3, len(x))
    expected = torch.nn.functional.silu(x.double()) * ups
    all_gates(x.data_ptr(), ups.data_ptr(), len(x))
    torch.testing.assert_close(x, expected.float(), rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("approximate", [True, False])
def test_a_gate_is_gelu_times_up_for_numbers_of_any_size(approximate: bool) -> None:
    x = torch.cat((torch.linspace(-20, 20, 64 * LANES - 4), torch.tensor([-1e30, 1e30, -1e4, 1e4])))
    ups = torch.linspace(-3, 3, len(x))
    expected = torch.nn.functional.gelu(x.double(), approximate="tanh" if approximate else "none") * ups
    all_gelus(x.data_ptr(), ups.data_ptr(), len(x), approximate)
    torch.testing.assert_close(x, expected.float(), rtol=4e-6, atol=1e-6)
    assert (x[-3], x[-1]) == (expected[-3].float(), expected[-1].float())


@pytest.mark.parametrize("largest", [0.5, 30.0])
def test_a_soft_bound_keeps_signs_and_is_never_passed(largest: float) -> None:
    x = torch.cat((torch.linspace(-9, 9, 16 * LANES - 3) * largest, torch.tensor([0.0, -1e30, 1e30])))
    expected = largest * torch.tanh(x.double() / largest)
    all_capped(x.data_ptr(), len(x), np.float32(largest))
    torch.testing.assert_close(x.double(), expected, rtol=1e-6, atol=1e-7 * largest)
    assert x.abs().max() == largest
    assert torch.equal(x.sign(), expected.float().sign())


def test_what_is_far_below_the_largest_weighs_exactly_nothing() -> None:
    x = torch.linspace(-100, 5, 8 * LANES)
    x[3] = -torch.inf
    expected = torch.exp((x - 5).double())
    hidden = x - 5 <= exponentials.LOWEST
    all_weights(x.data_ptr(), len(x), np.float32(5))
    assert torch.equal(x == 0, hidden)
    torch.testing.assert_close(x[~hidden], expected[~hidden].float(), rtol=1e-6, atol=0)
