"""The linears of quantised plans: packed once a (target, precision), shared by every plan of that precision.

Two precisions, both rounded to nearest without data. int8-dynamic holds one scale an output row and quantises each activation row by
its own largest value (LLM.int8(), Dettmers et al. 2022, without the outlier columns), so that the other rows of a forward never change
one. int4-weight holds a scale and a zero per group of 32 inputs and keeps the activations. The head decides which token is best, so it
has 8 bits in both, or stays the target's own. A cached row is the target's dtype whichever plan wrote it.

The native forward has tiles of its own (`runtime/native/integer_tiles.py`), whose activations are levels of 8 bits in both. Elsewhere the
kernels are torch's: oneDNN and packed 4-bit operators on a processor, the integer product and tinygemm on CUDA.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from casspec.runtime.model.packed_weights import packed_layer, plain_layer
from casspec.runtime.model.weights import DecoderWeights, LayerWeights, Weight
from casspec.runtime.native import processor
from casspec.runtime.native.layout import GROUP_BYTES, LANES, QUADS
from casspec.runtime.native.packing import PackedWeight, padded
from casspec.storage.schema import Precision

LINEARS = ("qkv", "output", "gate_up", "down")
"""Fields of `LayerWeights` that are packed."""

GROUP_INPUTS = 32
"""Inputs that share a scale and a zero in 4 bits: the smallest, hence most accurate, group the kernels take."""

PACKED_ROWS = 4096
"""Rows quantised at once, so that packing needs little memory beside its result."""

MEMORY_SHARE = 0.9
"""Of the free memory that packed weights may take."""

MEMORY_INFO = Path("/proc/meminfo")


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
        rows = _padded(n_out, self.TILE)
        sums = 4 * rows  # of each row's values: what the activations' zero point adds is taken off by them
        return rows * _padded(n_in, self.TILE) + sums + 4 * n_out

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
        return _indivisible(n_out, n_in, self.MULTIPLE, self.MULTIPLE)

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
        return _indivisible(n_out, n_in, self.MULTIPLE, GROUP_INPUTS)

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


# ---------------------------------------------------------------------------------------- tiles of the native forward


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
        return n_out * (_padded(n_in, 4) + 8)

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
        return _indivisible(n_out, n_in, 1, GROUP_INPUTS)

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


KERNELS: dict[tuple[str, Precision], Kernel] = {
    ("native", Precision.INT8_DYNAMIC): Int8Native(),
    ("native", Precision.INT4_WEIGHT): Int4Native(),
    ("cpu", Precision.INT8_DYNAMIC): Int8OnCpu(),
    ("cpu", Precision.INT4_WEIGHT): Int4OnCpu(),
    ("cuda", Precision.INT8_DYNAMIC): Int8OnCuda(),
    ("cuda", Precision.INT4_WEIGHT): Int4OnCuda(),
}


# ------------------------------------------------------------------------------------------------------ a whole target


def refusal(weights: DecoderWeights, precision: Precision, is_packed: bool = False) -> str | None:
    """Why plans of this precision cannot run here, in one line; None when they can.

    Args:
        weights: the target's own.
        is_packed: whether they are packed in this precision already: then they are not counted against the memory that is free.
    """
    if precision is Precision.TARGET:
        return None
    kernel, layer = _kernel(weights, precision), weights.layers[0]
    reasons = [kernel.refuses(weights.dtype)]
    reasons += [kernel.refuses_shape(*_shape(getattr(layer, name))) for name in LINEARS]
    for reason in reasons:
        if reason:
            return reason
    needed, free = extra_bytes(weights, precision), free_bytes(weights.device)
    if free is not None and needed > MEMORY_SHARE * free and not is_packed:
        return f"its weights take {needed / 2**20:,.0f} MiB more, {free / 2**20:,.0f} MiB are free"
    return None


def extra_bytes(weights: DecoderWeights, precision: Precision) -> int:
    """Memory that the packed weights of a precision take beside the target's own; for shapes its kernel serves."""
    if precision is Precision.TARGET:
        return 0
    parts = sub_layer_bytes(weights, precision)
    head = parts["head"] if head_kernel(weights) else 0
    return len(weights.layers) * (parts["attention"] + parts["mlp"]) + head


def sub_layer_bytes(weights: DecoderWeights, precision: Precision) -> dict[str, int]:
    """Bytes of the weights that an attention sub-layer, an MLP sub-layer and the head read in a quantised precision."""
    kernel, head, layer = _kernel(weights, precision), head_kernel(weights), weights.layers[0]

    def packed(weight: Weight, kernel: Kernel = kernel) -> int:
        return kernel.n_bytes(*_shape(weight), weights.dtype)

    return {
        "attention": packed(layer.qkv) + packed(layer.output),
        "mlp": packed(layer.gate_up) + packed(layer.down),
        "head": packed(weights.head, head) if head else weights.head.nbytes,
    }


def quantised(weights: DecoderWeights, precision: Precision) -> DecoderWeights:
    """Packs the target's linears: what `extra_bytes` says is allocated, once for all plans of the precision."""
    kernel, head = _kernel(weights, precision), head_kernel(weights)
    with torch.inference_mode():
        layers = [_packed_layer(layer, kernel) for layer in weights.layers]
        if head is None:
            return replace(weights, layers=layers)
        return replace(weights, layers=layers, head=head.pack(_plain(weights.head)), head_linear=head.linear)


def head_kernel(weights: DecoderWeights) -> Kernel | None:
    """The kernel of every quantised plan's head; None where the head stays the target's own."""
    kernel = _kernel(weights, Precision.INT8_DYNAMIC)
    n_out, n_in = _shape(weights.head)
    return None if kernel.refuses(weights.dtype) or kernel.refuses_shape(n_out, n_in) else kernel


def _kernel(weights: DecoderWeights, precision: Precision) -> Kernel:
    place = "native" if isinstance(weights.head, PackedWeight) else weights.device.type
    return KERNELS[place, precision]


def _shape(weight: Weight) -> tuple[int, int]:
    """As kernels see it: padded, where it is packed."""
    return (weight.columns, weight.values.shape[1]) if isinstance(weight, PackedWeight) else tuple(weight.shape)


def _plain(weight: Weight) -> Tensor:
    return weight.unpacked() if isinstance(weight, PackedWeight) else weight


def free_bytes(device: torch.device) -> int | None:
    """Memory of the device that nobody uses; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if not MEMORY_INFO.exists():
        return None
    fields = dict(line.split(":", 1) for line in MEMORY_INFO.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _packed_layer(layer: LayerWeights, kernel: Kernel) -> LayerWeights:
    if isinstance(kernel, NativeKernel):
        return packed_layer(plain_layer(layer), kernel.pack)
    packed: dict[str, Weight] = {name: kernel.pack(getattr(layer, name)) for name in LINEARS}
    return replace(layer, linear=kernel.linear, **packed)


def _padded(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _indivisible(n_out: int, n_in: int, multiple_out: int, multiple_in: int) -> str | None:
    if n_out % multiple_out == 0 and n_in % multiple_in == 0:
        return None
    return (
        f"a linear of {n_in} inputs and {n_out} outputs: the kernel takes multiples of {multiple_in} and {multiple_out}"
    )
