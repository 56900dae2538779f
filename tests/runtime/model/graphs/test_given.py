"""Inputs copied to memory that stays where it is."""

from __future__ import annotations

import torch

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.graphs.given import Given


def inputs(length: int, seed: int) -> ForwardInput:
    dice = torch.Generator().manual_seed(seed)
    numbers = torch.randint(9, (3, 2, 4), generator=dice)
    return ForwardInput(
        numbers[0], numbers[1], numbers[2].view(-1), torch.randn(1, 1, 4, length, generator=dice), length
    )


def test_what_is_written_stands_where_it_stood_and_more_is_hidden() -> None:
    given = Given(2, 4, 1, 128, torch.float32, torch.device("cpu"))
    addresses = [tensor.data_ptr() for tensor in given.memory]
    for length, seed in ((128, 0), (64, 1)):
        asked = inputs(length, seed)
        given.write(asked)
        for name in ("token_ids", "positions", "rows"):
            assert torch.equal(getattr(given.inputs, name), getattr(asked, name))
        assert torch.equal(given.inputs.mask[..., :length], asked.mask)
        assert torch.isneginf(given.inputs.mask[..., length:]).all()
    assert [tensor.data_ptr() for tensor in given.memory] == addresses


def test_numbers_of_rows_have_a_place_by_their_count() -> None:
    given = Given(2, 4, 1, 64, torch.float32, torch.device("cpu"))
    assert given.wanted(3) is given.wanted(3)
    assert (given.wanted(3).shape, given.wanted(4).shape) == ((3,), (4,))
