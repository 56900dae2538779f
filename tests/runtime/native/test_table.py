"""Entries of the table have places of their own."""

from __future__ import annotations

import pytest

from casspec.runtime.native.table import Entries, Layer, Slot


@pytest.mark.parametrize("names", [Slot, Layer])
def test_entries_follow_each_other_from_zero(names: type[Entries]) -> None:
    assert [int(name) for name in names] == list(range(len(names)))


@pytest.mark.parametrize(
    ("address", "size"),
    [
        (Slot.LEVELS, Slot.LEVEL_BYTES),
        (Slot.ENTRIES, Slot.ENTRY_BYTES),
        (Slot.SCORES, Slot.SCORE_BYTES),
        (Slot.PARTS, Slot.PART_BYTES),
        (Slot.ADDED, Slot.ADDED_COLUMNS),
    ],
)
def test_the_size_of_a_memory_stands_after_its_address(address: Slot, size: Slot) -> None:
    assert size == address + 1
