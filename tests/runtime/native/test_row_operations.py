"""What happens to one row, against torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.native import row_operations
from casspec.runtime.native.layout import BFLOAT16, FLOAT16, FLOAT32, GELU, GELU_TANH, GROUP, LANES, SILU
from tests.runtime.native.memory import DTYPES, normal

KINDS = [FLOAT32, BFLOAT16, FLOAT16]
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.mark.parametrize("n", [1, 7, 64, 577])
def test_a_norm_is_torchs(n: int) -> None:
    x, weight, out = normal(n), normal(n, seed=1), torch.zeros(n + 1)
    row_operations.normalise(x.data_ptr(), weight.data_ptr(), out.data_ptr(), n, np.float32(1e-5))
    torch.testing.assert_close(out[:n], torch.rms_norm(x, (n,), weight, 1e-5), atol=1e-6, rtol=2e-6)
    assert out[n] == 0
    row_operations.normalise(x.data_ptr(), weight.data_ptr(), x.data_ptr(), n, np.float32(1e-5))
    assert torch.equal(x, out[:n]), "a row may be its own result"


@pytest.mark.parametrize("n", [2, 10, 64])
def test_a_rotation_turns_pairs_of_a_head_and_scales_them(n: int) -> None:
    head, angle, out = normal(n), normal(n // 2, seed=1), torch.zeros(n)
    table = torch.cat((angle.cos(), angle.sin()))
    row_operations.rotate(head.data_ptr(), table.data_ptr(), n, n, np.float32(0.25), out.data_ptr())
    turned = torch.complex(*head.chunk(2)) * torch.polar(torch.ones(n // 2), angle) * 0.25
    torch.testing.assert_close(out, torch.cat((turned.real, turned.imag)), atol=1e-6, rtol=1e-6)
    row_operations.rotate(head.data_ptr(), table.data_ptr(), n, n, np.float32(0.25), head.data_ptr())
    assert torch.equal(head, out), "a head may be turned where it lies"


def test_numbers_past_those_rotated_are_scaled_alone() -> None:
    head, angle, out, whole = normal(24), normal(5, seed=1), torch.zeros(24), torch.zeros(10)
    table, half = torch.cat((angle.cos(), angle.sin())), np.float32(0.5)
    row_operations.rotate(head.data_ptr(), table.data_ptr(), 10, 24, half, out.data_ptr())
    row_operations.rotate(head.data_ptr(), table.data_ptr(), 10, 10, half, whole.data_ptr())
    assert torch.equal(out, torch.cat((whole, head[10:] * 0.5)))


@pytest.mark.parametrize(
    ("activation", "expected", "tolerance"),
    [
        (SILU, F.silu, {"atol": 1e-30, "rtol": 2e-6}),
        (GELU_TANH, partial(F.gelu, approximate="tanh"), {"atol": 1e-14, "rtol": 2e-6}),
        (GELU, F.gelu, {"atol": 1e-14, "rtol": 5e-6}),
    ],
)
def test_a_gate_is_an_activation_times_the_other_half(
    activation: int, expected: Callable[[Tensor], Tensor], tolerance: dict[str, float]
) -> None:
    gates, ups = torch.cat((normal(507) * 10, torch.tensor([0.0, -90, 90, -1e4, 1e4]))), normal(512, seed=1)
    wanted = (expected(gates.double()) * ups).float()
    row_operations.gate(gates.data_ptr(), ups.data_ptr(), len(gates), activation)
    torch.testing.assert_close(gates, wanted, **tolerance)


def test_a_row_is_bounded_softly() -> None:
    x = torch.cat((normal(94) * 30, torch.tensor([1e4, -1e4])))
    expected = 7 * torch.tanh(x.double() / 7)
    row_operations.cap(x.data_ptr(), np.float32(7), len(x))
    torch.testing.assert_close(x.double(), expected, atol=1e-6, rtol=1e-6)


def test_a_row_is_scaled() -> None:
    x = normal(33)
    expected = x * 0.3
    row_operations.scale(x.data_ptr(), np.float32(0.3), 33)
    assert torch.equal(x, expected)


def test_rows_are_added() -> None:
    x, y = normal(33), normal(33, seed=1)
    expected = x + y
    row_operations.add(x.data_ptr(), y.data_ptr(), 33)
    assert torch.equal(x, expected)


def holes(n: int, dtype: torch.dtype, hidden: float = -torch.inf) -> Tensor:
    """A mask that hides two slots in three, the first and the last among them."""
    mask = torch.full((n,), hidden, dtype=dtype)
    mask[1:-1:3] = 0
    return mask


@each_kind
@pytest.mark.parametrize("n", [LANES, 32, 96])
def test_weights_are_those_of_a_softmax_and_exactly_nothing_where_hidden(kind: int, n: int) -> None:
    scores, mask = normal(n) * 20, holes(n, DTYPES[kind])
    mask[1] = 0
    shown = mask == 0
    scores[0] = 1000
    expected = torch.exp((scores - scores[shown].max()).double())
    row_operations.weigh(scores.data_ptr(), mask.data_ptr(), kind, n)
    assert (scores[~shown] == 0).all()
    torch.testing.assert_close(scores[shown].double(), expected[shown], atol=1e-37, rtol=3e-7)
    assert scores.max() == 1


@each_kind
def test_a_mask_may_lower_a_score_without_hiding_it(kind: int) -> None:
    scores, mask = normal(32), -normal(32, seed=1).abs().to(DTYPES[kind])
    expected = scores.double() + mask.double()
    row_operations.weigh(scores.data_ptr(), mask.data_ptr(), kind, 32)
    torch.testing.assert_close(scores.double(), torch.exp(expected - expected.max()), atol=0, rtol=1e-6)


def test_a_slot_far_below_the_best_weighs_nothing() -> None:
    scores, mask = torch.tensor([0.0, -86.9, -87.5, -1e6] * (LANES // 4)), torch.zeros(LANES)
    row_operations.weigh(scores.data_ptr(), mask.data_ptr(), FLOAT32, LANES)
    assert [score > 0 for score in scores.tolist()] == [True, True, False, False] * (LANES // 4)


@each_kind
def test_the_last_slot_shown_is_found(kind: int) -> None:
    for last in (0, 1, 17, 64):
        mask = torch.full((64,), -torch.inf, dtype=DTYPES[kind])
        mask[max(last - 9, 0) : last : 2] = 0
        mask[last - 1 : last] = 0
        assert row_operations.last_seen(mask.data_ptr(), kind, 64) == last


@each_kind
def test_the_first_slot_shown_is_found(kind: int) -> None:
    for first in (0, 1, 17, 63, 64):
        mask = torch.full((64,), -torch.inf, dtype=DTYPES[kind])
        mask[first::3] = 0
        assert row_operations.first_seen(mask.data_ptr(), kind, 64) == first


@each_kind
@pytest.mark.parametrize("stride", [1, 5])
def test_storing_rounds_as_torch_does(kind: int, stride: int) -> None:
    bits = torch.randint(-(2**31), 2**31, (5000,), generator=torch.Generator().manual_seed(0))
    values = bits.to(torch.int32).view(torch.float32)
    values = torch.cat(
        (values[values.isfinite()], normal(5000), torch.tensor([0.0, -0.0, 65519.0, 65520.0, 6e-8, 1e-9]))
    )
    halfway = torch.arange(0x3F80_8000, 0x3F90_8000, 0x1_0000, dtype=torch.int32).view(torch.float32)
    values = torch.cat((values, halfway, -halfway))
    out = torch.full((len(values), stride), 3, dtype=DTYPES[kind])
    row_operations.store(values.data_ptr(), len(values), kind, out.data_ptr(), stride)
    expected = values.to(DTYPES[kind])
    whole = torch.int32 if kind == FLOAT32 else torch.int16
    assert torch.equal(out[:, 0].contiguous().view(whole), expected.view(whole))
    assert (out[:, 1:] == 3).all(), "wrote between its entries"


@pytest.mark.parametrize("n", [1, 4, 30, 64])
def test_levels_are_of_the_rows_own_scale(n: int) -> None:
    x = normal(n) * 5
    levels, scale = torch.zeros(n + 4, dtype=torch.uint8), torch.zeros(1)
    row_operations.to_levels(x.data_ptr(), n, levels.data_ptr(), scale.data_ptr())
    unit = x.abs().max() * torch.tensor(1 / 127)
    assert scale.item() == unit.item()
    padded = (n + 3) // 4 * 4
    assert levels[:n].tolist() == (x * (1 / unit) + 128.5).to(torch.int32).tolist()
    assert levels[n:padded].tolist() == [128] * (padded - n)
    assert not levels[padded:].any()
    assert levels[:n].min() >= 1


def test_a_row_of_zeros_has_levels_in_the_middle() -> None:
    x, levels, scale = torch.zeros(8), torch.zeros(8, dtype=torch.uint8), torch.ones(1)
    row_operations.to_levels(x.data_ptr(), 8, levels.data_ptr(), scale.data_ptr())
    assert scale.item() == 0
    assert levels.tolist() == [128] * 8


def test_levels_by_group_come_with_their_scales_and_sums() -> None:
    groups = normal(3, GROUP) * torch.tensor([[1.0], [100], [0]])
    levels, entries = torch.zeros(3, GROUP, dtype=torch.int8), torch.zeros(3, 4)
    row_operations.to_group_levels(groups.data_ptr(), 3 * GROUP, levels.data_ptr(), entries.data_ptr())
    units = groups.abs().amax(1) * torch.tensor(1 / 127)
    inverse = torch.where(units > 0, 1 / units, 0)
    expected = (groups * inverse[:, None] + 128.5).to(torch.int32) - 128
    totals = expected.sum(1, dtype=torch.int32)
    assert torch.equal(levels.int(), expected)
    assert torch.equal(entries[:, 0], units)
    assert torch.equal(entries.view(torch.int32)[:, 1], -8 * totals)
    assert torch.equal(entries[:, 2], units * totals)


@each_kind
@pytest.mark.parametrize("n", [1, 33])
def test_numbers_are_widened_to_the_last_bit(kind: int, n: int) -> None:
    x, out = normal(n).to(DTYPES[kind]), torch.zeros(n + 1)
    row_operations.widen(x.data_ptr(), kind, n, out.data_ptr())
    assert torch.equal(out[:n], x.float())
    assert out[n] == 0
