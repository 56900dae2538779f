"""exp by vectors is right to a unit in the last place, and its two uses end where they should."""

from __future__ import annotations

from typing import Any

import numpy as np
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


def test_what_is_far_below_the_largest_weighs_exactly_nothing() -> None:
    x = torch.linspace(-100, 5, 8 * LANES)
    x[3] = -torch.inf
    expected = torch.exp((x - 5).double())
    hidden = x - 5 <= exponentials.LOWEST
    all_weights(x.data_ptr(), len(x), np.float32(5))
    assert torch.equal(x == 0, hidden)
    torch.testing.assert_close(x[~hidden], expected[~hidden].float(), rtol=1e-6, atol=0)
