"""Query buckets, and inputs that nobody else writes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.model.forward_input import QUERY_BUCKETS, ForwardInput, bucket


@given(st.integers(1, QUERY_BUCKETS[-1]))
def test_a_bucket_is_the_smallest_that_holds_the_queries(n: int) -> None:
    assert bucket(n) == min(size for size in QUERY_BUCKETS if size >= n)


def test_more_queries_than_the_largest_bucket_are_refused() -> None:
    with pytest.raises(ValueError, match="513 query tokens"):
        bucket(QUERY_BUCKETS[-1] + 1)


def test_a_copy_is_not_written_with_what_it_was_made_of() -> None:
    numbers = torch.zeros(1, 2, dtype=torch.int64)
    inputs = ForwardInput(numbers, numbers.clone(), numbers[0].clone(), torch.zeros(1, 1, 2, 64), 64)
    copy = inputs.clone()
    for tensor in (inputs.token_ids, inputs.positions, inputs.rows, inputs.mask):
        tensor.fill_(1)
    assert copy.length == 64
    assert not any(tensor.any() for tensor in (copy.token_ids, copy.positions, copy.rows, copy.mask))
