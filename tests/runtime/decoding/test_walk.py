"""A walk ends where one token at a time would end; options that look at the text stand in `tests/runtime/test_requests.py`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.verify import TargetOutputs, accept
from casspec.runtime.decoding.walk import Walk
from casspec.runtime.text.request import Request
from tests.runtime.verified_trees import verified_trees


class Fixed(TargetOutputs):
    """Says what it was given, and keeps what it was asked."""

    def __init__(self, tokens: list[int]) -> None:
        self._tokens, self.asked = tokens, list[int]()

    def token_after(self, node: int) -> int:
        self.asked.append(node)
        return self._tokens[node]


def walk(request: Request, limit: int, ends: set[int]) -> Walk:
    sequence = cast(Sequence, SimpleNamespace(tokens=[0], device="cpu", grammar=None))
    return Walk(request, sequence, limit, frozenset(ends))


@given(verified_trees(), st.integers(1, 12), st.sets(st.integers(0, 2), max_size=2))
def test_the_end_is_where_one_token_at_a_time_would_end(case: Any, limit: int, ends: set[int]) -> None:
    tree, targets = case
    whole_path, whole = accept(tree, targets.__getitem__)
    expected: list[int] = []
    reason = None
    for token in whole:
        expected.append(token)
        reason = "stop" if token in ends else "length" if len(expected) == limit else None
        if reason:
            break
    going, outputs = walk(Request(), limit, ends), Fixed(targets)
    path, emitted = going.along(tree, outputs)
    assert (path, emitted) == (whole_path[: len(expected)], expected)
    assert outputs.asked == path, "nothing is asked past the end"
    assert going.finish_reason == reason
    assert going.stop_reason == (expected[-1] if reason == "stop" else None)
    assert going.remaining == limit - len(expected)
