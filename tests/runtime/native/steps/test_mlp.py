"""The MLP up to its last linear."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from casspec.runtime.native.layout import FLOAT32, GELU, SILU
from casspec.runtime.native.packing import packed, padded
from casspec.runtime.native.steps.mlp import gates
from casspec.runtime.native.table import Layer, Slot
from tests.runtime.native.memory import layer_row, normal, spared, table

HIDDEN, INNER, ROWS = 24, 70, 3


@pytest.mark.parametrize("activation", [SILU, GELU])
@pytest.mark.parametrize("biased", [False, True])
def test_gates_are_activated_and_multiplied_by_ups(activation: int, biased: bool) -> None:
    x, gate, up = spared(normal(ROWS, HIDDEN)), normal(INNER, HIDDEN, seed=1), normal(INNER, HIDDEN, seed=2)
    columns = padded(INNER)
    both, bias = packed(gate).followed_by(packed(up)), F.pad(normal(2, INNER, seed=3), (0, columns - INNER))
    out = spared(torch.zeros(ROWS, 2 * columns))
    a = table({Slot.HIDDEN: HIDDEN, Slot.INNER: columns, Slot.NORMED: x, Slot.GATES: out, Slot.ACTIVATION: activation})
    layer = layer_row({Layer.GATES: both.values, Layer.GATES_BIAS: bias if biased else 0})
    for thread in range(2):
        gates(FLOAT32)(a, layer, ROWS, thread, 2)
    gate_bias, up_bias = bias[:, :INNER] if biased else torch.zeros(2, INNER)
    activate = F.silu if activation == SILU else F.gelu
    expected = activate(F.linear(x[:ROWS], gate, gate_bias)) * F.linear(x[:ROWS], up, up_bias)
    torch.testing.assert_close(out[:ROWS, :INNER], expected, atol=1e-5, rtol=1e-5)
    assert not out[:ROWS, INNER:columns].any(), "padding stays nothing"
