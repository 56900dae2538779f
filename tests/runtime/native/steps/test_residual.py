"""What reads and writes the residual stream, by one thread or shared out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from casspec.runtime.native.layout import BFLOAT16, FLOAT16, FLOAT32
from casspec.runtime.native.packing import packed, padded
from casspec.runtime.native.steps.residual import add_product, embedding, end, norms, settle
from casspec.runtime.native.table import MEETING_BYTES, Slot
from tests.runtime.native.memory import DTYPES, normal, row_bytes, spared, table

HIDDEN, ROWS = 40, 5
EPSILON = np.float32(1e-6)


@pytest.mark.parametrize("kind", [FLOAT32, BFLOAT16, FLOAT16])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("factor", [0.0, 6.5])
def test_rows_of_the_stream_are_those_of_the_embedding(kind: int, is_packed: bool, factor: float) -> None:
    weight, tokens = normal(70, HIDDEN).to(DTYPES[kind]), torch.tensor([3, 69, 0, 33, 3])
    source, x = packed(weight).values if is_packed else weight, torch.zeros(ROWS, HIDDEN)
    a = table(
        {
            Slot.HIDDEN: HIDDEN,
            Slot.EMBEDDING: source,
            Slot.EMBEDDING_PACKED: int(is_packed),
            Slot.EMBEDDING_SCALE: factor,
            Slot.TOKENS: tokens,
            Slot.X: x,
        }
    )
    for thread in range(2):
        embedding(kind)(a, ROWS, thread, 2)
    assert torch.equal(x, weight[tokens].float() * (factor or 1))


def test_a_norm_leaves_the_stream_as_it_is() -> None:
    x, weight, normed = normal(ROWS, HIDDEN), normal(HIDDEN, seed=1), torch.zeros(ROWS, HIDDEN)
    before = x.clone()
    a = table({Slot.HIDDEN: HIDDEN, Slot.X: x, Slot.NORMED: normed})
    for thread in range(2):
        norms(FLOAT32)(a, weight.data_ptr(), ROWS, EPSILON, thread, 2)
    torch.testing.assert_close(normed, torch.rms_norm(x, (HIDDEN,), weight, 1e-6))
    assert torch.equal(x, before)


@pytest.mark.parametrize("is_normed", [False, True])
def test_what_a_sub_layer_gives_is_added_with_or_without_a_norm_of_it(is_normed: bool) -> None:
    x, given, weight = normal(ROWS, HIDDEN), spared(normal(ROWS, 24, seed=1)), normal(HIDDEN, 24, seed=2)
    norm, bias, columns = normal(HIDDEN, seed=3), normal(HIDDEN, seed=4), padded(HIDDEN)
    values, padded_bias, added = (
        packed(weight).values,
        F.pad(bias, (0, columns - HIDDEN)),
        spared(torch.zeros(ROWS, columns)),
    )
    product = given[:ROWS] @ weight.t() + bias
    expected = x + (torch.rms_norm(product, (HIDDEN,), norm, 1e-6) if is_normed else product)
    a = table({Slot.HIDDEN: HIDDEN, Slot.X: x, Slot.ADDED: added, Slot.ADDED_COLUMNS: columns})
    place = norm.data_ptr() if is_normed else 0
    source = given.data_ptr(), row_bytes(given), 24, values.data_ptr(), padded_bias.data_ptr()
    for thread in range(2):
        add_product(FLOAT32)(a, *source, place, ROWS, thread, 2)
    for thread in range(2):
        settle()(a, place, ROWS, EPSILON, thread, 2)
    torch.testing.assert_close(x, expected, atol=1e-5, rtol=1e-5)


def test_the_rows_wanted_are_normed_at_the_end() -> None:
    x, weight, normed = normal(ROWS, HIDDEN), normal(HIDDEN, seed=1), torch.zeros(2, HIDDEN)
    wanted, meeting = torch.tensor([4, 1]), torch.zeros(MEETING_BYTES, dtype=torch.uint8)
    a = table(
        {
            Slot.HIDDEN: HIDDEN,
            Slot.X: x,
            Slot.NORMED: normed,
            Slot.FINAL_NORM: weight,
            Slot.WANTED: wanted,
            Slot.N_WANTED: 2,
            Slot.MEETING: meeting,
        }
    )
    end()(a, EPSILON, 0, 1)
    torch.testing.assert_close(normed, torch.rms_norm(x[wanted], (HIDDEN,), weight, 1e-6))
