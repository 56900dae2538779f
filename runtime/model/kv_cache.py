"""The key-value cache: preallocated once, written at slots, compacted along the sequence.

One cache serves the target and all self-drafters. Row `b * slots + s` holds slot `s` of sequence `b`, so that one flat index
addresses any row of any sequence in a single kernel. The slot past the capacity is scratch: padding rows of a bucketed
forward write there and nothing ever attends to it.

Layers may differ in the shape of their rows, and in how far back they see. A window is measured in positions: nodes of a tree stand in
slots side by side, but what a query sees of its text is the same whatever tree it stands in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.compiled import compiled
from casspec.runtime.model.forward_input import ForwardInput, bucket
from casspec.runtime.model.transfers import to_device
from casspec.storage.errors import ContextOverflow

NATIVE_SCRATCH = 32
"""Slots past the capacity where the native forward runs, so that the rows of each dimension begin on a cache line."""


@dataclass(frozen=True, slots=True)
class LayerRows:
    """What a layer keeps of a token, and which tokens it sees.

    Attributes:
        heads, key_width: of keys; value_heads, value_width: of values.
        window: positions that a query sees, its own included; None for all.
    """

    heads: int
    key_width: int
    value_heads: int
    value_width: int
    window: int | None = None

    @property
    def numbers(self) -> int:
        """Kept of a token."""
        return self.heads * self.key_width + self.value_heads * self.value_width


class _Rows:
    """Keys or values of layers whose rows have one shape.

    Attributes:
        kept: [layers, heads, rows, width], or [layers, heads, width, rows] seen so.
        rows: [layers, rows, heads, width], the same memory.
        words: on the host, the same as integers: [any, rows, numbers of a row that lie together]; None of a part of other rows.
    """

    def __init__(self, kept: Tensor, width: int, is_whole: bool = True) -> None:
        self.kept = kept
        self.rows = kept[..., :width].transpose(1, 2)
        self.words: np.ndarray | None = None
        if kept.device.type == "cpu" and is_whole:
            together = kept if kept.is_contiguous() else kept.transpose(2, 3)[..., None]
            word = {2: torch.int16, 4: torch.int32, 8: torch.int64}[kept.itemsize]
            self.words = together.view(word).flatten(0, -3).numpy()

    def part(self, first: int, n: int) -> _Rows:
        """Rows from `first` on."""
        return _Rows(self.kept[:, :, first : first + n], self.rows.shape[-1], is_whole=False)


class KVCache:
    """Keys and values of all layers.

    Args:
        layers: the shape of each layer's rows.
        capacity: rows usable per sequence, drafts included.
        batch: sequences held side by side.
        padded_values: for the native forward, which has keys dimension by dimension, [heads, width, rows], and values of so many
            numbers a row; its layers have one shape. By default rows of a head follow each other, as torch's attention reads them.

    Attributes:
        n_rows: batch * slots.
        windows: of the layers that have one, without repetition.
        positions: int64 [n_rows], of every row, kept where there are windows.
    """

    def __init__(
        self,
        layers: Sequence[LayerRows],
        capacity: int,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        padded_values: int | None = None,
    ) -> None:
        self.capacity = capacity
        self.batch = batch
        self.slots = capacity + (1 if padded_values is None else NATIVE_SCRATCH)
        self.n_rows = batch * self.slots
        self.windows = tuple(sorted({layer.window for layer in layers if layer.window is not None}))
        self.positions = torch.zeros(self.n_rows if self.windows else 0, dtype=torch.int64, device=device)
        # Zeros, not empty: masked columns are multiplied by zero probability, and 0 * NaN is NaN.
        make = partial(torch.zeros, dtype=dtype, device=device)
        # With the rows of a head following each other attention takes up to half the time that it takes with heads side by side.
        groups, by_group = list[tuple[_Rows, _Rows]](), list[list[int]]()
        shapes = [(layer.heads, layer.key_width, layer.value_heads, layer.value_width) for layer in layers]
        for shape in dict.fromkeys(shapes):
            heads, key_width, value_heads, value_width = shape
            members = [index for index, one in enumerate(shapes) if one == shape]
            n = len(members)
            if padded_values is None:
                keys = make(n, heads, self.n_rows, key_width)
            else:
                keys = make(n, heads, key_width, self.n_rows).transpose(2, 3)
            values = make(n, value_heads, self.n_rows, padded_values or value_width)
            groups.append((_Rows(keys, key_width), _Rows(values, value_width)))
            by_group.append(members)
        self._keep(groups, by_group)

    @classmethod
    def within(cls, whole: KVCache, first: int, capacity: int) -> KVCache:
        """A cache of one sequence in the rows of `whole` from `first` on, `capacity` and one for scratch; the memory stays the whole's."""
        part = cls.__new__(cls)
        part.capacity, part.batch, part.slots = capacity, 1, capacity + 1
        part.n_rows, part.windows = part.slots, whole.windows
        part.positions = whole.positions[first : first + part.slots]
        groups = [(keys.part(first, part.slots), values.part(first, part.slots)) for keys, values in whole._groups]
        part._keep(groups, whole._by_group)
        return part

    def _keep(self, groups: list[tuple[_Rows, _Rows]], by_group: list[list[int]]) -> None:
        """Takes the rows of layers by the shape of their rows. by_group: the layers of each."""
        self._groups, self._by_group = groups, by_group
        self._layer_rows: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * sum(map(len, by_group))
        for (keys, values), members in zip(groups, by_group, strict=True):
            for place, index in enumerate(members):
                self._layer_rows[index] = keys.rows[place], values.rows[place]
        self._words = [part.words for group in self._groups for part in group if part.words is not None]
        self._views: dict[int, list[tuple[Tensor, Tensor]]] = {}

    @property
    def scratch_slot(self) -> int:
        return self.capacity

    @property
    def n_layers(self) -> int:
        return len(self._layer_rows)

    @property
    def dtype(self) -> torch.dtype:
        return self._groups[0][0].kept.dtype

    @property
    def n_bytes(self) -> int:
        return sum(part.kept.nbytes for group in self._groups for part in group)

    @property
    def addresses(self) -> tuple[int, int]:
        """Of keys and values, for the native forward."""
        keys, values = self._groups[0]
        return keys.kept.data_ptr(), values.kept.data_ptr()

    def rows(self, layer: int) -> tuple[Tensor, Tensor]:
        """Writable keys [batch * slots, heads, width] and values of a layer."""
        return self._layer_rows[layer]

    def visible(self, length: int) -> list[tuple[Tensor, Tensor]]:
        """Per layer, views of the first `length` slots: [batch, heads, length, width]. Views are kept per length."""
        views = self._views.get(length)
        if views is None:
            views = [(self._first(keys, length), self._first(values, length)) for keys, values in self._layer_rows]
            self._views[length] = views
        return views

    def _first(self, rows: Tensor, length: int) -> Tensor:
        return rows.view(self.batch, self.slots, *rows.shape[1:])[:, :length].transpose(1, 2)

    def masks(self, inputs: ForwardInput) -> dict[int | None, Tensor]:
        """The additive mask of each window, by window, and that of layers without one under None; notes where the rows stand.

        A window that reaches past the first position leaves the mask as it is: the very tensor of `inputs` then.
        """
        masks: dict[int | None, Tensor] = {None: inputs.mask}
        if not self.windows:
            return masks
        self.positions.index_copy_(0, inputs.rows, inputs.positions.view(-1))
        if inputs.length <= self.windows[0]:  # no position is larger than its slot
            return masks | dict.fromkeys(self.windows, inputs.mask)
        there = self.positions.view(self.batch, self.slots)[:, None, None, : inputs.length]
        back = inputs.positions[:, None, :, None] - there
        for window in self.windows:
            masks[window] = inputs.mask.masked_fill(back >= window, -torch.inf)
        return masks

    def require(self, slots: int) -> None:
        """Raises ContextOverflow when a sequence would need more than the capacity."""
        if slots > self.capacity:
            raise ContextOverflow(
                f"{slots} cache rows are needed but the cache holds {self.capacity}; shorten the prompt or max_new_tokens"
            )

    def move(self, source: list[int], first: int) -> None:
        """Copies flat rows `source` to those from `first` on, in every layer; they may overlap."""
        if self._words:
            rows = np.array(source, np.int64)
            for keys, values in zip(self._words[::2], self._words[1::2], strict=True):
                move_rows(keys, values, rows, first)
            if self.windows:
                self.positions[first : first + len(source)] = self.positions[source]
            return
        n = len(source)
        padding = [self.scratch_slot] * (bucket(n) - n)  # so that shapes stay few
        both = [*source, *padding, *range(first, first + n), *padding]
        origins, places = to_device(both, self.positions.device).view(2, -1)
        for group in self._groups:
            for part in group:
                part.kept.index_copy_(2, places, part.kept.index_select(2, origins))
        if self.windows:
            self.positions.index_copy_(0, places, self.positions.index_select(0, origins))

    def copy_rows(self, source: KVCache, length: int, sequence: int) -> None:
        """The first `length` slots of another cache's first sequence become those of `sequence`."""
        start = sequence * self.slots
        for own, other in zip(self._groups, source._groups, strict=True):
            for part, its in zip(own, other, strict=True):
                part.rows[:, start : start + length] = its.rows[:, :length]
        if self.windows:
            self.positions[start : start + length] = source.positions[:length]

    def scatter(self) -> None:
        """Random rows, at positions as text has them: what latency is measured over."""
        for group in self._groups:
            for part in group:
                part.rows.normal_()
        if self.windows:
            self.positions.copy_(torch.arange(self.slots).repeat(self.batch))


def _moved_plainly(keys: np.ndarray, values: np.ndarray, source: np.ndarray, first: int) -> None:
    for rows in (keys, values):
        rows[:, first : first + len(source)] = rows[:, source]


@compiled(
    "void(int16[:, :, ::1], int16[:, :, ::1], int64[::1], int64)",
    "void(int32[:, :, ::1], int32[:, :, ::1], int64[::1], int64)",
    "void(int64[:, :, ::1], int64[:, :, ::1], int64[::1], int64)",
    plain=_moved_plainly,
)
def move_rows(keys: np.ndarray, values: np.ndarray, source: np.ndarray, first: int) -> None:
    """Copies rows `source` to those from `first` on; they may overlap.

    Args:
        keys, values: [any, rows, numbers of a row that lie together].
    """
    n = len(source)
    for rows in (keys, values):
        width = rows.shape[2]
        moved = np.empty((n, width), rows.dtype)
        for part in range(rows.shape[0]):
            for i in range(n):
                for place in range(width):
                    moved[i, place] = rows[part, source[i], place]
            for i in range(n):
                for place in range(width):
                    rows[part, first + i, place] = moved[i, place]
