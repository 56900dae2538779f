"""Linears in 8 and 4 bits as the native forward runs them: weights laid out for `runtime/native/integer_tiles.py`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.model.lean.kernels import (
    GROUP_INPUTS,
    Int8OnCpu,
    Kernel,
    indivisible,
    int4_groups,
    int8_rows,
    rounded_up,
)
from casspec.runtime.native import processor
from casspec.runtime.native.layout import GROUP_BYTES, LANES, QUADS
from casspec.runtime.native.packing import padded


@dataclass(frozen=True, slots=True)
class TiledWeight:
    """A weight as integer tiles read it: uint8 [vectors, bytes]."""

    values: Tensor

    @property
    def address(self) -> int:
        return self.values.data_ptr()

    @property
    def columns(self) -> int:
        return len(self.values) * LANES

    def followed_by(self, other: TiledWeight) -> TiledWeight:
        """Both in one, of the same inputs."""
        return TiledWeight(torch.cat((self.values, other.values)))


class NativeKernel(Kernel):
    """What tiles of both precisions share. Sizes are those of the packed weight, padded."""

    def refuses(self, dtype: torch.dtype) -> str | None:
        return None if processor.has_byte_products() else "this processor has no 8-bit dot product (AVX512-VNNI)"

    def refuses_shape(self, n_out: int, n_in: int) -> str | None:
        return None

    def pack(self, weight: Tensor, n_inputs: int | None = None) -> TiledWeight:
        """weight: [out, in], its inputs padded to `n_inputs`."""
        n_out, n_in = weight.shape
        return self._tiled(F.pad(weight, (0, (n_inputs or n_in) - n_in, 0, padded(n_out) - n_out)))

    def _tiled(self, weight: Tensor) -> TiledWeight:
        raise NotImplementedError


class Int8Native(NativeKernel):
    """One scale an output and an activation row, as Int8OnCpu."""

    def n_bytes(self, n_out: int, n_in: int, dtype: torch.dtype) -> int:
        return n_out * (rounded_up(n_in, 4) + 8)

    def _tiled(self, weight: Tensor) -> TiledWeight:
        values, scales = int8_rows(F.pad(weight, (0, -weight.shape[1] % 4)))
        vectors = len(weight) // LANES
        quads = values.view(vectors, LANES, -1, 4).transpose(1, 2).reshape(vectors, -1)
        shifts = Int8OnCpu.ZERO_POINT * values.sum(1, dtype=torch.int32)
        parts = (quads, scales.view(vectors, LANES), shifts.view(vectors, LANES))
        return TiledWeight(torch.cat([part.contiguous().view(torch.uint8) for part in parts], 1))


class Int4Native(NativeKernel):
    """Scales and centres by group of inputs in bfloat16; activation rows have a scale by group."""

    def refuses_shape(self, n_out: int, n_in: int) -> str | None:
        return indivisible(n_out, n_in, 1, GROUP_INPUTS)

    def n_bytes(self, n_out: int, n_in: int, dtype: torch.dtype) -> int:
        return n_out // LANES * (n_in // GROUP_INPUTS) * GROUP_BYTES

    def _tiled(self, weight: Tensor) -> TiledWeight:
        values, pairs = int4_groups(weight, torch.bfloat16)
        vectors = len(weight) // LANES
        # Eight inputs a lane: the first four in the low halves of its bytes, the others in the high ones.
        lanes = values.to(torch.uint8).view(vectors, LANES, -1, QUADS, 2, 4)
        nibbles = (lanes[..., 0, :] | lanes[..., 1, :] << 4).permute(0, 2, 3, 1, 4).flatten(2)
        scales = pairs.view(-1, vectors, LANES, 2).permute(1, 0, 3, 2).contiguous().view(torch.uint8).flatten(2)
        return TiledWeight(torch.cat((nibbles, scales), 2).flatten(1))
