"""Inputs whose tensors are made when they are read equal those of a processor."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.model.device_input import DeviceInput
from casspec.runtime.model.inputs import InputBuffers

CAPACITY = 128
NAMES = ("token_ids", "positions", "rows", "mask")


def both(dtype: torch.dtype = torch.float32) -> tuple[InputBuffers, InputBuffers]:
    """As on a processor, and as on a device."""
    here = torch.device("cpu")
    return InputBuffers(CAPACITY, dtype, here), InputBuffers(CAPACITY, dtype, here, on_host=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 60), st.booleans()), min_size=1, max_size=6))
def test_equal_those_of_a_processor(dtype, asked):
    host, device = both(dtype)
    for n, first, causal in asked:
        if causal:
            expected, found = host.causal([7] * n, first), device.causal([7] * n, first)
        else:
            places, seen = list(range(first, first + n)), [b"\1\0\1"[: 1 + i % 3] for i in range(n)]
            expected, found = (each.fill([5] * n, places, places, seen, first) for each in (host, device))
        assert isinstance(found, DeviceInput)
        assert (found.length, found.n_tokens) == (expected.length, expected.n_tokens)
        for name in NAMES:
            assert torch.equal(getattr(found, name), getattr(expected, name))


def test_tensors_lie_where_they_lay() -> None:
    _, device = both()
    addresses = set()
    for place in range(3):
        found = device.causal([4, 4], place)
        addresses.add(tuple(getattr(found, name).data_ptr() for name in NAMES))
    assert len(addresses) == 1


def test_a_clone_has_tensors_of_its_own() -> None:
    _, device = both()
    kept = device.causal([5], 3).clone()
    mask = kept.mask.clone()
    assert device.causal([6], 9).token_ids.item() == 6
    assert (kept.token_ids.item(), kept.n_tokens) == (5, 1)
    assert torch.equal(kept.mask, mask)


def test_nothing_else_is_made_up() -> None:
    _, device = both()
    found = device.causal([5, 6, 7], 3)
    assert found.size == 4
    with pytest.raises(AttributeError):
        found.nothing  # type: ignore[attr-defined]  # noqa: B018
