"""The linears of quantised plans: packed once a (target, precision), shared by every plan of that precision.

Two precisions, both rounded to nearest without data. int8-dynamic holds one scale an output row and quantises each activation row by
its own largest value (LLM.int8(), Dettmers et al. 2022, without the outlier columns), so that the other rows of a forward never change
one. int4-weight holds a scale and a zero per group of 32 inputs and keeps the activations. The head decides which token is best, so it
has 8 bits in both, or stays the target's own. A cached row is the target's dtype whichever plan wrote it.

The native forward has tiles of its own (`tiled_kernels.py`), whose activations are levels of 8 bits in both. Elsewhere the
kernels are torch's (`kernels.py`).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from casspec.runtime.model.lean.kernels import Int4OnCpu, Int4OnCuda, Int8OnCpu, Int8OnCuda, Kernel
from casspec.runtime.model.lean.packed_weights import packed_layer, plain_layer
from casspec.runtime.model.lean.tiled_kernels import Int4Native, Int8Native, NativeKernel
from casspec.runtime.model.lean.weights import DecoderWeights, LayerWeights, Weight
from casspec.runtime.native.packing import PackedWeight
from casspec.storage.schema import Precision

LINEARS = ("qkv", "output", "gate_up", "down")
"""Fields of `LayerWeights` that are packed."""

MEMORY_SHARE = 0.9
"""Of the free memory that packed weights may take."""

MEMORY_INFO = Path("/proc/meminfo")


KERNELS: dict[tuple[str, Precision], Kernel] = {
    ("native", Precision.INT8_DYNAMIC): Int8Native(),
    ("native", Precision.INT4_WEIGHT): Int4Native(),
    ("cpu", Precision.INT8_DYNAMIC): Int8OnCpu(),
    ("cpu", Precision.INT4_WEIGHT): Int4OnCpu(),
    ("cuda", Precision.INT8_DYNAMIC): Int8OnCuda(),
    ("cuda", Precision.INT4_WEIGHT): Int4OnCuda(),
}


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
    return memory_refusal(extra_bytes(weights, precision), weights.device, is_packed)


def memory_refusal(needed: int, device: torch.device, is_packed: bool) -> str | None:
    """Why packed weights of so many bytes have no room, in one line; None when they have, or are there already."""
    free = free_bytes(device)
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
