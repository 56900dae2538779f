"""Skip sets: equal however written, and checked against a model."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.storage.plans import forwards_of, were_compiled
from casspec.storage.schema import SkipSet


@given(st.lists(st.integers(0, 30)), st.randoms())
def test_equal_skip_sets_are_equal_however_written(layers: list[int], random) -> None:
    mixed = layers * 2
    random.shuffle(mixed)
    assert SkipSet(attention=tuple(mixed)) == SkipSet(attention=tuple(layers))
    assert SkipSet(attention=tuple(mixed)).attention == tuple(sorted(set(layers)))


def test_skip_set_names_the_layers_a_model_lacks() -> None:
    with pytest.raises(ValueError, match=r"mlp layers \[8, 9\] do not exist in a model of 8 layers"):
        SkipSet(attention=(7,), mlp=(1, 8, 9)).check(8)


@pytest.mark.parametrize(
    ("device", "backend", "compiles", "expected"),
    [
        ("cpu", "lean", True, None),
        ("cpu", "generic", False, "operators"),
        ("cuda:1", "lean", True, "graphs"),
        ("cuda", "generic", True, None),
        ("cuda", "lean", False, None),
    ],
)
def test_forwards_are_named_where_they_do_not_run_the_usual_way(
    device: str, backend: str, compiles: bool, expected: str | None
) -> None:
    assert forwards_of(device, backend, compiles) == expected
    told_apart = (device, backend) != ("cuda", "generic")
    assert were_compiled(device, backend, expected) == (compiles and told_apart)
