"""What tests of native code share: memory as its functions take it."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.native.layout import BFLOAT16, FLOAT16, FLOAT32, GROUP, LANES, QUADS, SPARE_ROWS
from casspec.runtime.native.products import product
from casspec.runtime.native.table import Layer, Slot

DTYPES = {FLOAT32: torch.float32, BFLOAT16: torch.bfloat16, FLOAT16: torch.float16}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def spared(rows: Tensor) -> Tensor:
    """The rows and as many more as a product may read or write past them."""
    return torch.cat((rows, rows.new_full((SPARE_ROWS, *rows.shape[1:]), 7)))


def multiplied(kind: int, x: Tensor, values: Tensor, columns: tuple[int, int], extra: Tensor | None = None) -> Tensor:
    """x times the vectors from `columns[0]` to `columns[1]` of packed values: float32 [rows, all columns], zero elsewhere.

    x: rows of numbers or of levels. values: [vectors, ...]. extra: of rows, where the kind has it.
    """
    source, out = spared(x), spared(torch.zeros(len(x), len(values) * LANES))
    more = None if extra is None else spared(extra)
    inputs = {0: x.shape[1], 1: x.shape[1] // 4, 2: x.shape[1] // GROUP}[_family(kind)]
    w_input = values.stride(1) * values.element_size() if _family(kind) == 0 else 0
    product(kind)(
        source.data_ptr(),
        row_bytes(source),
        values.data_ptr(),
        w_input,
        row_bytes(values),
        inputs,
        out.data_ptr(),
        row_bytes(out),
        len(x),
        *columns,
        0 if more is None else more.data_ptr(),
        0 if more is None else row_bytes(more),
    )
    return out[: len(x)]


def table(entries: dict[Slot, int | float | Tensor]) -> np.ndarray:
    """The table of a forward with these entries: numbers, bits of float32, addresses of tensors that somebody keeps."""
    numbers = np.zeros(len(Slot), np.int64)
    for slot, value in entries.items():
        numbers[slot] = _entry(value)
    return numbers


def layer_row(entries: dict[Layer, int | Tensor]) -> np.ndarray:
    """The row of a layer with these entries."""
    numbers = np.zeros(len(Layer), np.int64)
    for place, value in entries.items():
        numbers[place] = _entry(value)
    return numbers


def _entry(value: float | Tensor) -> int:
    if isinstance(value, Tensor):
        return value.data_ptr()
    return int(np.float32(value).view(np.int32)) if isinstance(value, float) else value


def row_bytes(rows: Tensor) -> int:
    return rows.stride(0) * rows.element_size()


def _family(kind: int) -> int:
    """0 for numbers, 1 for 8 bits, 2 for 4."""
    return max(kind - FLOAT16, 0)


def packed_int8(values: Tensor, scales: Tensor) -> Tensor:
    """values: int8 [out, in], out a multiple of LANES, in of 4. scales: float32 [out]. Gives uint8 [vectors, bytes]."""
    vectors = len(values) // LANES
    quads = values.view(vectors, LANES, -1, 4).transpose(1, 2).contiguous()
    shifts = 128 * values.sum(1, dtype=torch.int32)
    parts = (quads.view(vectors, -1), scales.view(vectors, LANES), shifts.view(vectors, LANES))
    return torch.cat([part.view(torch.uint8) for part in parts], 1)


def packed_int4(values: Tensor, scales: Tensor, centres: Tensor) -> Tensor:
    """values: 0 .. 15, uint8 [out, in]. scales, centres: bfloat16 [out, in / GROUP]. Gives uint8 [vectors, bytes]."""
    rows = []
    for outputs, scale, centre in zip(values.split(LANES), scales.split(LANES), centres.split(LANES), strict=True):
        parts = []
        for group in range(values.shape[1] // GROUP):
            for quad in range(QUADS):
                first = group * GROUP + 8 * quad
                low, high = outputs[:, first : first + 4], outputs[:, first + 4 : first + 8]
                parts.append((low | high << 4).flatten())
            parts += [numbers[:, group].contiguous().view(torch.uint8) for numbers in (scale, centre)]
        rows.append(torch.cat(parts))
    return torch.stack(rows)
