"""Heads between the two linears of attention: turned, written to the cache, read from it through the mask of their layer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.native.layout import FLOAT32, SPARE_ROWS, TOTALS
from casspec.runtime.native.packing import padded
from casspec.runtime.native.steps.heads import attend, turn
from casspec.runtime.native.table import Layer, Slot
from tests.runtime.native.memory import layer_row, normal, table

HEADS, KEY_HEADS, DIM, QUERIES, SLOTS = 4, 2, 8, 3, 64
WIDTH = padded(DIM)


@dataclass
class Memory:
    """One sequence of three queries over two layers, of which the second runs."""

    joint: Tensor = field(default_factory=lambda: normal(QUERIES, (HEADS + 2 * KEY_HEADS) * DIM))
    keys: Tensor = field(default_factory=lambda: normal(2, KEY_HEADS, DIM, SLOTS, seed=1))
    values: Tensor = field(default_factory=lambda: normal(2, KEY_HEADS, SLOTS, WIDTH, seed=2))
    turned: Tensor = field(default_factory=lambda: normal(KEY_HEADS, QUERIES * HEADS // KEY_HEADS, DIM, seed=3))
    mixed: Tensor = field(default_factory=lambda: torch.zeros(QUERIES, HEADS * DIM))
    scores: Tensor = field(default_factory=lambda: torch.zeros(2, 2 * SPARE_ROWS * SLOTS))
    parts: Tensor = field(default_factory=lambda: torch.zeros(2, 2 * SPARE_ROWS * WIDTH + TOTALS))
    positions: Tensor = field(default_factory=lambda: torch.tensor([5, 6, 6]))
    rows: Tensor = field(default_factory=lambda: torch.tensor([9, 11, 40]))
    masks: Tensor = field(default_factory=lambda: torch.zeros(2, QUERIES, SLOTS))

    def table(self, rotated: int, largest: float = 0.0) -> np.ndarray:
        mask, window_mask = (each.data_ptr() for each in self.masks)
        keys, values, row = self.keys.data_ptr(), self.values.data_ptr(), 4 * SLOTS
        self.extents = np.array([0, QUERIES, keys, values, SLOTS, 0, SLOTS, mask, row, window_mask, row], np.int64)
        return table(
            {
                **{Slot.HEADS: HEADS, Slot.KEY_HEADS: KEY_HEADS, Slot.HEAD_DIM: DIM, Slot.ROTATED: rotated},
                **{Slot.N_ROWS: QUERIES, Slot.EXTENTS: self.extents.ctypes.data, Slot.N_EXTENTS: 1},
                **{Slot.JOINT: self.joint, Slot.QKV: self.joint.shape[1], Slot.TURNED: self.turned},
                **{
                    Slot.VALUE_WIDTH: WIDTH,
                    Slot.POSITIONS: self.positions,
                    Slot.ROWS: self.rows,
                    Slot.MIXED: self.mixed,
                },
                **{Slot.SCORES: self.scores, Slot.SCORE_BYTES: 4 * self.scores.shape[1], Slot.SCORE_CAP: largest},
                **{Slot.PARTS: self.parts, Slot.PART_BYTES: 4 * self.parts.shape[1]},
            }
        )


@pytest.mark.parametrize("rotated", [8, 4])
@pytest.mark.parametrize("normed", [False, True])
def test_heads_are_normed_and_turned_and_rows_written(rotated: int, normed: bool) -> None:
    memory, angle, scale = Memory(), normal(20, rotated // 2, seed=4), 0.25
    angles, norm = torch.cat((angle.cos(), angle.sin()), -1), torch.linspace(0.5, 1.5, DIM)
    heads = memory.joint.view(QUERIES, -1, DIM).clone()
    query, key, value = heads.split((HEADS, KEY_HEADS, KEY_HEADS), 1)
    if normed:
        query, key = (torch.rms_norm(each, (DIM,), norm, 1e-6) for each in (query, key))
    cos, sin = (part[memory.positions][:, None] for part in angles.chunk(2, -1))
    half = rotated // 2

    def turned(heads: Tensor) -> Tensor:
        low, high, rest = heads.split((half, half, DIM - rotated), -1)
        return torch.cat((low * cos - high * sin, high * cos + low * sin, rest), -1)

    place = norm.data_ptr() if normed else 0
    layer = layer_row({Layer.ANGLES: angles, Layer.QUERY_NORM: place, Layer.KEY_NORM: place})
    before = memory.keys[0].clone()
    for thread in range(2):
        turn(FLOAT32)(memory.table(rotated), layer, 1, QUERIES, np.float32(1e-6), np.float32(scale), thread, 2)
    grouped = (turned(query) * scale).view(QUERIES, KEY_HEADS, -1, DIM).transpose(0, 1).flatten(1, 2)
    torch.testing.assert_close(memory.turned, grouped, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(memory.keys[1][..., memory.rows].permute(2, 0, 1), turned(key), atol=1e-5, rtol=1e-5)
    assert torch.equal(memory.values[1][:, memory.rows, :DIM].transpose(0, 1), value)
    assert torch.equal(memory.keys[0], before), "another layer's rows"


@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("largest", [0.0, 2.0])
def test_a_layer_reads_the_cache_through_its_own_mask(windowed: bool, largest: float) -> None:
    memory = Memory()
    memory.masks[0, :, 30:], memory.masks[1] = -torch.inf, -torch.inf
    memory.masks[1, :, 20:24] = 0
    layer = layer_row({Layer.WINDOWED: int(windowed)})
    for thread in range(2):
        attend(FLOAT32)(memory.table(DIM, largest), layer, 1, thread, 2)
    scores = memory.turned @ memory.keys[1]
    scores = largest * torch.tanh(scores / largest) if largest else scores
    scores = scores + memory.masks[int(windowed)].repeat_interleave(HEADS // KEY_HEADS, 0)
    mixed = F.softmax(scores, -1) @ memory.values[1, ..., :DIM]
    expected = mixed.view(KEY_HEADS, QUERIES, -1, DIM).transpose(0, 1).reshape(QUERIES, -1)
    torch.testing.assert_close(memory.mixed, expected, atol=1e-5, rtol=1e-5)
