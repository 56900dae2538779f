"""torch's linears in 8 and 4 bits: oneDNN and packed 4-bit operators on a processor, the integer product and tinygemm on CUDA."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.model.lean.weights import Weight

GROUP_INPUTS = 32
"""Inputs that share a scale and a zero in 4 bits: the smallest, hence most accurate, group the kernels take."""

PACKED_ROWS = 4096
"""Rows quantised at once, so that packing needs little memory beside its result."""


class Packed(NamedTuple):
    """A quantised weight as its kernel reads it."""

    values: Tensor
    scales: Tensor


class Kernel:
    """The linears of one precision on one kind of device."""

    def refuses(self, dtype: torch.dtype) -> str | None:
        """Why it cannot run on this device for a target of `dtype`."""
        raise NotImplementedError

    def refuses_shape(self, n_out: int, n_in: int) -> str | None:
        """Why it cannot serve a weight [n_out, n_in]."""
        raise NotImplementedError

    def n_bytes(self, n_out: int, n_in: int, dtype: torch.dtype) -> int:
        """What `pack` allocates for good."""
        raise NotImplementedError

    def pack(self, weight: Tensor) -> Weight:
        """weight: [out, in]."""
        raise NotImplementedError

    def linear(self, x: Tensor, weight: Packed, bias: Tensor | None) -> Tensor:
        """x: [rows, in] -> [rows, out] in the dtype of `x`."""
        raise NotImplementedError


# ------------------------------------------------------------------------------------------------------------- 8 bits


def int8_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric int8 values of weight [out, in] and the float32 scale of each output row."""
    parts = []
    for rows in weight.split(PACKED_ROWS):
        scales = (rows.abs().amax(1).float() / 127).clamp_(min=torch.finfo(torch.float32).tiny)
        parts.append(((rows / scales[:, None]).round_().to(torch.int8), scales))
    values, scales = zip(*parts, strict=True)
    return torch.cat(values), torch.cat(scales)


class Int8OnCpu(Kernel):
    """oneDNN's product of unsigned activations (zero point 128) and signed weights; signed ones fall to a reference loop."""

    ZERO_POINT: ClassVar = 128
    TILE: ClassVar = 64
    _step = torch.tensor([1 / 127])
    _symmetric = torch.zeros(1, dtype=torch.int32)

    def refuses(self, dtype: torch.dtype) -> str | None:
        if torch.cpu._is_vnni_supported() or torch.cpu._is_amx_tile_supported():
            return None
        return "this processor has no 8-bit dot product (AVX512-VNNI or AMX)"

    def refuses_shape(self, n_out: int, n_in: int) -> str | None:
        return None

    def n_bytes(self, n_out: int, n_in: int, dtype: torch.dtype) -> int:
        rows = rounded_up(n_out, self.TILE)
        sums = 4 * rows  # of each row's values: what the activations' zero point adds is taken off by them
        return rows * rounded_up(n_in, self.TILE) + sums + 4 * n_out

    def pack(self, weight: Tensor) -> Packed:
        values, scales = int8_rows(weight)
        return Packed(torch.ops.onednn.qlinear_prepack(values, [1, weight.shape[1]]), scales)

    def linear(self, x: Tensor, weight: Packed, bias: Tensor | None) -> Tensor:
        scale = x.abs().amax(1, True) * self._step
        # Truncation after adding a half rounds. A row of zeros divides 0 by 0; whatever that casts to is multiplied by 0 below.
        levels = (x / scale).add_(self.ZERO_POINT + 0.5).to(torch.uint8)
        # float16 results would fall to the reference loop.
        dtype = torch.float32 if x.dtype == torch.float16 else x.dtype
        out = torch.ops.onednn.qlinear_pointwise(
            levels,
            1.0,
            self.ZERO_POINT,
            weight.values,
            weight.scales,
            self._symmetric,
            None,
            1.0,
            0,
            dtype,
            "none",
            [],
            "",
        )
        scaled = out.mul_(scale) if bias is None else torch.addcmul(bias, out, scale)
        return scaled.to(x.dtype)


class Int8OnCuda(Kernel):
    """torch's integer product. It takes more than 16 rows, so fewer are padded: its time is reading the weight anyhow."""

    FEWEST_ROWS: ClassVar = 32
    MULTIPLE: ClassVar = 8

    def refuses(self, dtype: torch.dtype) -> str | None:
        return None if torch.cuda.get_device_capability() >= (7, 5) else "this GPU has no 8-bit tensor cores"

    def refuses_shape(self, n_out: int, n_in: int) -> str | None:
        return indivisible(n_out, n_in, self.MULTIPLE, self.MULTIPLE)

    def n_bytes(self, n_out: int, n_in: int, dtype: torch.dtype) -> int:
        return n_out * n_in + 4 * n_out

    def pack(self, weight: Tensor) -> Packed:
        return Packed(*int8_rows(weight))

    def linear(self, x: Tensor, weight: Packed, bias: Tensor | None) -> Tensor:
        rows = x.shape[0]
        scale = (x.abs().amax(1, True).float() / 127).clamp_(min=torch.finfo(torch.float32).tiny)
        levels = (x / scale).round_().to(torch.int8)
        if rows < self.FEWEST_ROWS:
            levels = F.pad(levels, (0, 0, 0, self.FEWEST_ROWS - rows))
        out = (torch._int_mm(levels, weight.values.t())[:rows] * weight.scales).mul_(scale)
        return (out if bias is None else out.add_(bias)).to(x.dtype)


# ------------------------------------------------------------------------------------------------------------- 4 bits


def int4_groups(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Values 0 .. 15 (int32 [out, in]) and, per group of inputs, scale and centre [in / GROUP_INPUTS, out, 2] in `dtype`.

    A weight is scale * (value - 8) + centre.
    """
    groups = weight.float().unflatten(1, (-1, GROUP_INPUTS))
    low, high = groups.aminmax(dim=2)
    scales = ((high - low) / 15).clamp_(min=1e-8)
    centres = low + 8 * scales
    values = ((groups - centres[..., None]) / scales[..., None]).round_().add_(8).clamp_(0, 15)
    pairs = torch.stack((scales, centres), -1).to(dtype)
    return values.flatten(1).to(torch.int32), pairs.transpose(0, 1).contiguous()


def int4_bytes(n_out: int, n_in: int, dtype: torch.dtype) -> int:
    """Half a byte a weight, and two numbers a group."""
    return n_out * n_in // 2 + 2 * n_out * (n_in // GROUP_INPUTS) * dtype.itemsize


class Int4(Kernel):
    """What 4-bit kernels share: groups of inputs, outputs in multiples."""

    MULTIPLE: ClassVar[int]

    def refuses_shape(self, n_out: int, n_in: int) -> str | None:
        return indivisible(n_out, n_in, self.MULTIPLE, GROUP_INPUTS)

    def n_bytes(self, n_out: int, n_in: int, dtype: torch.dtype) -> int:
        return int4_bytes(n_out, n_in, dtype)


class Int4OnCpu(Int4):
    """torch's 4-bit weights for one or a few rows."""

    MULTIPLE: ClassVar = 16

    def refuses(self, dtype: torch.dtype) -> str | None:
        return None

    def pack(self, weight: Tensor) -> Packed:
        values, pairs = int4_groups(weight, weight.dtype)
        return Packed(torch.ops.aten._convert_weight_to_int4pack_for_cpu(values, 1), pairs)

    def linear(self, x: Tensor, weight: Packed, bias: Tensor | None) -> Tensor:
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(x, weight.values, GROUP_INPUTS, weight.scales)
        return out if bias is None else out.add_(bias)


class Int4OnCuda(Int4):
    """tinygemm, bfloat16 only."""

    INNER_TILES: ClassVar = 2
    MULTIPLE: ClassVar = 8

    def refuses(self, dtype: torch.dtype) -> str | None:
        if dtype != torch.bfloat16:
            return "the 4-bit kernel of this GPU takes bfloat16 only; load the model with dtype bfloat16"
        return None if torch.cuda.get_device_capability() >= (8, 0) else "this GPU has no bfloat16 tensor cores"

    def pack(self, weight: Tensor) -> Packed:
        values, pairs = int4_groups(weight, weight.dtype)
        bytes_ = (values[:, ::2] << 4 | values[:, 1::2]).to(torch.uint8)
        return Packed(torch._convert_weight_to_int4pack(bytes_, self.INNER_TILES), pairs)

    def linear(self, x: Tensor, weight: Packed, bias: Tensor | None) -> Tensor:
        out = torch._weight_int4pack_mm(x, weight.values, GROUP_INPUTS, weight.scales)
        return out if bias is None else out.add_(bias)


def rounded_up(size: int, multiple: int) -> int:
    """`size` up to a multiple."""
    return -(-size // multiple) * multiple


def indivisible(n_out: int, n_in: int, multiple_out: int, multiple_in: int) -> str | None:
    """Why a kernel that takes multiples refuses a weight [n_out, n_in]."""
    if n_out % multiple_out == 0 and n_in % multiple_in == 0:
        return None
    return (
        f"a linear of {n_in} inputs and {n_out} outputs: the kernel takes multiples of {multiple_in} and {multiple_out}"
    )
