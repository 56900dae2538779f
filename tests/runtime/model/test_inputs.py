"""Inputs kept between forwards equal ones built anew, whatever was asked before."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.model.forward_input import CONTEXT_STEP, bucket
from casspec.runtime.model.inputs import InputBuffers

CAPACITY = 128


@st.composite
def calls(draw):
    """Forwards of one sequence: where the first own column stands (also back, as in replays), and what is seen."""
    asked = []
    for _ in range(draw(st.integers(1, 8))):
        queries, columns, first = draw(st.integers(1, 5)), draw(st.integers(1, 6)), draw(st.integers(0, 100))
        bits = draw(st.lists(st.booleans(), min_size=queries * columns, max_size=queries * columns))
        asked.append((np.array(bits, bool).reshape(queries, columns), first))
    return asked


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@given(asked=calls(), trimmed=st.booleans())
def test_equals_inputs_built_anew(dtype, asked, trimmed):
    buffers = InputBuffers(CAPACITY, dtype, torch.device("cpu"))
    for turn, (visibility, first) in enumerate(asked):
        queries, columns = visibility.shape
        tokens, positions = [turn + i for i in range(queries)], [first + i for i in range(queries)]
        rows = [row.tobytes() for row in visibility]
        if trimmed:
            rows = [row.rstrip(b"\0") or b"\0" for row in rows]
            columns = max(map(len, rows))
        inputs = buffers.fill(tokens, positions, positions, rows, first)

        size, length = bucket(queries), inputs.length
        assert first + columns <= length <= CAPACITY
        assert length % CONTEXT_STEP == 0
        seen = torch.zeros(size, length, dtype=torch.bool)
        seen[:, :first] = True
        seen[queries:, first] = True
        seen[:queries, first : first + columns] = torch.from_numpy(visibility[:, :columns])
        expected = torch.zeros(size, length, dtype=dtype).masked_fill_(~seen, -torch.inf)
        assert torch.equal(inputs.mask[0, 0], expected)
        assert inputs.token_ids[0, :queries].tolist() == tokens
        assert inputs.positions[0, :queries].tolist() == positions
        assert inputs.rows.tolist() == positions + [CAPACITY] * (size - queries)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60)), min_size=1, max_size=6))
def test_text_sees_itself_up_to_each_token(dtype, texts):
    """Whatever trees came between, in the same buckets."""
    buffers, fresh = (InputBuffers(CAPACITY, dtype, torch.device("cpu")) for _ in range(2))
    for n, first in texts:
        tokens, places = list(range(n)), list(range(first, first + n))
        inputs = buffers.causal(tokens, first).clone()
        spelled = fresh.fill(tokens, places, places, [b"\1" * (i + 1) for i in range(n)], first)
        for name in "token_ids", "positions", "rows", "mask":
            assert torch.equal(getattr(inputs, name), getattr(spelled, name))
        buffers.fill([0], [first + 2], [first + 2], [b"\1\0\1"], first)
        buffers.fill(tokens, places, places, [b"\1\0\1"] * n, first + 9)


def test_a_clone_stays_as_it_was():
    buffers = InputBuffers(CAPACITY, torch.float32, torch.device("cpu"))
    kept = buffers.fill([5], [3], [3], [b"\1"], 3).clone()
    before = kept.clone()
    buffers.fill([6], [9], [9], [b"\1"], 9)
    assert all(
        torch.equal(getattr(kept, name), getattr(before, name)) for name in ("token_ids", "positions", "rows", "mask")
    )
