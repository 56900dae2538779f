"""Where the queries of a forward stand on a device: written on the host, sent in one copy, and the mask made of a few bytes there.

A query sees all slots before its step's tree, and of the tree what a byte a node says. So the bytes of a forward grow with the tree, not
with the text, and the mask [queries, attended length] never crosses to the device. Nothing is allocated once a length was seen.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from casspec.runtime.model.upload import Upload

LEAST_WINDOW = 128
"""Bytes of a query's visibility at least, which most trees need at most."""


@dataclass(frozen=True, slots=True)
class Queries:
    """What one sequence asks a forward, on the host.

    Attributes:
        tokens, positions, slots: of each query; slots are the sequence's own.
        first: all slots before this one are seen.
        visibility: by query, which slots from `first` on it sees, one byte a slot, 1 or 0, as far as it sees any.
    """

    tokens: Sequence[int]
    positions: Sequence[int]
    slots: Sequence[int]
    first: int
    visibility: Sequence[bytes]

    @property
    def end(self) -> int:
        """Slots from here on nobody sees."""
        return self.first + max(map(len, self.visibility))

    @property
    def window(self) -> int:
        """Bytes of visibility that are kept of each query: a power of two."""
        return max(LEAST_WINDOW, power_of_two(self.end - self.first))


@dataclass(frozen=True, slots=True)
class Seat:
    """One sequence of a forward.

    Attributes:
        n_rows: its queries that are asked for, the first ones.
        base: row of its first slot in the cache's memory. last: of its last one.
    """

    queries: Queries
    n_rows: int
    base: int
    last: int


class Staging:
    """Static memory of forwards of one shape.

    Args:
        seats: sequences. queries: of each, padding included. window: bytes of a query's visibility.
        dtype: of the mask.

    Attributes:
        token_ids, positions: [seats, queries] int64. rows: [seats * queries] int64, of the cache.
        places: [seats * queries] int64: where the queries that are asked for stand, one sequence after the other; 0 behind them.
        bases, lasts: [seats] int64.
    """

    def __init__(self, seats: int, queries: int, window: int, dtype: torch.dtype, device: torch.device) -> None:
        self._seats, self._queries, self._window = seats, queries, window
        self._dtype, self._device = dtype, device
        n_rows = seats * queries
        self._layout = struct.Struct(f"{4 * n_rows + 3 * seats}q")
        self._upload = Upload(self._layout.size + n_rows * (window + 2), device)
        on_device = self._upload.on_device
        numbers = on_device[: self._layout.size].view(torch.int64)
        token_ids, positions, self.rows, self.places, self._firsts, self.bases, self.lasts = numbers.split(
            [n_rows] * 4 + [seats] * 3
        )
        self.token_ids, self.positions = token_ids.view(seats, queries), positions.view(seats, queries)
        self._visibility = on_device[self._layout.size :].view(seats, queries, window + 2)
        self._masks: dict[int, _Mask] = {}
        self._wanted: dict[int, Tensor] = {}

    def write(self, seats: Sequence[Seat], scratch: int) -> None:
        """Writes what sequences ask, and sends it. Seats that are left over are padding: they write to the row `scratch`."""
        size, window = self._queries, self._window
        tokens, positions, rows, places = list[int](), list[int](), list[int](), list[int]()
        seen = list[bytes]()
        for place, seat in enumerate(seats):
            asked, n = seat.queries, seat.n_rows
            padding = [0] * (size - n)
            tokens += [*asked.tokens[:n], *padding]
            positions += [*asked.positions[:n], *padding]
            rows += [*[seat.base + slot for slot in asked.slots[:n]], *[scratch] * (size - n)]
            places += range(place * size, place * size + n)
            seen += [*asked.visibility[:n], *[b"\1"] * (size - n)]
        empty = self._seats - len(seats)
        n_more, none = empty * size, [0] * empty
        firsts, bases, lasts = ([*found, *none] for found in _columns(seats))
        places += [0] * (self._seats * size - len(places))
        tokens += [0] * n_more
        positions += [0] * n_more
        rows += [scratch] * n_more
        seen += [b"\1"] * n_more
        memory, numbers = self._upload.begin(), self._layout.size
        self._layout.pack_into(memory, 0, *tokens, *positions, *rows, *places, *firsts, *bases, *lasts)
        # A byte before the window for all slots before it, which are seen, and one after it for those that are not.
        memory[numbers:] = b"".join([b"\1" + row.ljust(window, b"\0") + b"\0" for row in seen])
        self._upload.send()

    def mask(self, length: int) -> Tensor:
        """The additive mask [seats, 1, queries, length] of what was written; the same memory each time."""
        kept = self._masks.get(length)
        if kept is None:
            shape = self._seats, self._queries, length
            kept = self._masks[length] = _Mask(*shape, self._dtype, self._device)
        return kept.of(self._firsts, self._visibility)

    def wanted(self, count: int) -> Tensor:
        """Memory for the numbers of `count` rows; what stands there are always rows of this forward."""
        if count not in self._wanted:
            with torch.inference_mode(False):
                self._wanted[count] = torch.zeros(count, dtype=torch.int64, device=self._device)
        return self._wanted[count]

    @property
    def memory(self) -> tuple[Tensor, ...]:
        """What a forward over it reads that the host writes."""
        return (self._upload.on_device,)


class _Mask:
    """A mask and the memory of the steps that make it."""

    def __init__(self, seats: int, queries: int, length: int, dtype: torch.dtype, device: torch.device) -> None:
        with torch.inference_mode(False):
            self._columns = torch.arange(length, device=device)
            self._places = torch.zeros(seats, length, dtype=torch.int64, device=device)
            self._seen = torch.zeros(seats, queries, length, dtype=torch.uint8, device=device)
            self._mask = torch.zeros(seats, 1, queries, length, dtype=dtype, device=device)
        self._by_query = self._places[:, None].expand(seats, queries, length)
        self._flat = self._mask[:, 0]

    def of(self, firsts: Tensor, visibility: Tensor) -> Tensor:
        torch.sub(self._columns, firsts[:, None], out=self._places)
        self._places.add_(1).clamp_(0, visibility.shape[2] - 1)
        torch.gather(visibility, 2, self._by_query, out=self._seen)
        torch.log(self._seen, out=self._flat)  # 0 where it is seen, minus infinity elsewhere
        return self._mask


def power_of_two(number: int) -> int:
    """The smallest that is no smaller."""
    return 1 << max(number - 1, 0).bit_length()


def _columns(seats: Sequence[Seat]) -> tuple[list[int], list[int], list[int]]:
    """First slots of trees, first and last rows of caches."""
    return [seat.queries.first for seat in seats], [seat.base for seat in seats], [seat.last for seat in seats]
