"""The weights of a model as its forward reads them: a tensor a linear, those that share an input fused into one."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from casspec.runtime.model.lean.families import Family

MAPS, CHECKPOINT = Path("/proc/self/maps"), ".safetensors"

Weight = Any
"""A tensor [out, in], or what the linear function beside it takes in its place."""

Linear = Callable[[Tensor, Weight, Tensor | None], Tensor]
"""(rows [rows, in], weight, bias [out] or None) -> [rows, out], as `torch.nn.functional.linear`."""


@dataclass(slots=True)
class LayerWeights:
    """Weights of one decoder layer; queries, keys and values share a tensor, gate and up another.

    Norms that nothing is kept of are None. `output_norm` and `down_norm` are of what a sub-layer gives.
    """

    attention_norm: Tensor
    qkv: Weight
    qkv_bias: Tensor | None
    q_norm: Tensor | None
    k_norm: Tensor | None
    output: Weight
    output_bias: Tensor | None
    mlp_norm: Tensor
    gate_up: Weight
    gate_up_bias: Tensor | None
    down: Weight
    down_bias: Tensor | None
    output_norm: Tensor | None = None
    down_norm: Tensor | None = None
    linear: Linear = F.linear
    """What multiplies by the four weights."""


@dataclass(slots=True)
class DecoderWeights:
    """All layers and the head in one precision; embedding and norms stay the target's.

    Attributes:
        dtype, device: of the target, whatever its linears are packed in.
    """

    layers: list[LayerWeights]
    head: Weight
    dtype: torch.dtype
    device: torch.device
    head_linear: Linear = F.linear


class MappedFiles:
    """Checkpoints that the process has mapped into memory, whose pages can be let go once what is on them was copied (Linux).

    A page that is read again comes from the file again. So this is for weights that nobody changed since they were read.
    """

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []
        if MAPS.exists():
            for line in MAPS.read_text().splitlines():
                if line.endswith(CHECKPOINT):
                    begin, end = line.split(maxsplit=1)[0].split("-")
                    self._ranges.append((int(begin, 16), int(end, 16)))
        self._advise = ctypes.CDLL(None).madvise if self._ranges else None

    def let_go(self, tensor: Tensor) -> None:
        """The whole pages under `tensor`, if it lies in such a file."""
        begin = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if self._advise and begin < end and any(low <= begin and end <= high for low, high in self._ranges):
            self._advise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), mmap.MADV_DONTNEED)


def give_back_freed_memory() -> None:
    """Freed memory that the allocator keeps for the next to ask goes to the system, where the C library can do that (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def fuse(layer: Any, family: Family, files: MappedFiles | None = None) -> LayerWeights:
    """The weights of a library layer, whose parameters become views of the fused tensors; pages of `files` they were on are let go."""
    attention = layer.self_attn
    (qkv, qkv_bias), (output, output_bias), (gate_up, gate_up_bias), (down, down_bias) = (
        _share(group, files) for group in linears(layer)
    )
    before_mlp = layer.pre_feedforward_layernorm if family.four_norms else layer.post_attention_layernorm
    return LayerWeights(
        attention_norm=norm_weight(layer.input_layernorm, family),
        qkv=qkv,
        qkv_bias=qkv_bias,
        q_norm=norm_weight(attention.q_norm, family) if family.qk_norm else None,
        k_norm=norm_weight(attention.k_norm, family) if family.qk_norm else None,
        output=output,
        output_bias=output_bias,
        mlp_norm=norm_weight(before_mlp, family),
        gate_up=gate_up,
        gate_up_bias=gate_up_bias,
        down=down,
        down_bias=down_bias,
        output_norm=norm_weight(layer.post_attention_layernorm, family) if family.four_norms else None,
        down_norm=norm_weight(layer.post_feedforward_layernorm, family) if family.four_norms else None,
    )


def norm_weight(norm: Any, family: Family) -> Tensor:
    """What a norm multiplies by: float32 where only the difference from one is kept, which its own dtype may be too coarse for."""
    weight: Tensor = norm.weight.detach()
    return weight.float() + 1 if family.norms_from_one else weight


def rounded(value: float, dtype: torch.dtype) -> float:
    """As a weight of this dtype holds it."""
    return torch.tensor(value).to(dtype).item()


def linears(layer: Any) -> tuple[list[Any], ...]:
    """The linears of a library layer by what fuses them: queries, keys and values; output; gate and up; down."""
    attention, mlp = layer.self_attn, layer.mlp
    fused = getattr(attention, "qkv_proj", None)
    qkv = [attention.q_proj, attention.k_proj, attention.v_proj] if fused is None else [fused]
    fused = getattr(mlp, "gate_up_proj", None)
    gate_up = [mlp.gate_proj, mlp.up_proj] if fused is None else [fused]
    return qkv, [attention.o_proj], gate_up, [mlp.down_proj]


def fill(layer: Any, weights: LayerWeights) -> None:
    """Makes the linears of a library layer views of fused weights again."""
    for group, fused in zip(linears(layer), (weights.qkv, weights.output, weights.gate_up, weights.down), strict=True):
        sizes = [linear.out_features for linear in group]
        for linear, part in zip(group, fused.split(sizes), strict=True):
            linear.weight.data = part


def special_linears(layer: Any) -> str | None:
    """What of a library layer's linears is no plain weight, an adapter or a quantised linear: the forward would pass it over in silence."""
    for name, module in (*layer.self_attn.named_children(), *layer.mlp.named_children()):
        weight = getattr(module, "weight", None)
        if name.endswith("_proj") and (type(module) is not nn.Linear or type(weight) is not nn.Parameter):
            return (
                f"{name} is a {type(module).__name__} over {type(weight).__name__}, only plain linears are supported; "
                "merge adapters into the weights, load without quantisation"
            )
    return None


def _share(linears: list[nn.Linear], files: MappedFiles | None) -> tuple[Tensor, Tensor | None]:
    """One tensor holding the weights of several linears; the linears keep views of it."""
    weight = _stack([linear.weight for linear in linears], files)
    if linears[0].bias is None:
        return weight, None
    return weight, _stack([linear.bias for linear in linears], files)


def _stack(parameters: list[Tensor], files: MappedFiles | None) -> Tensor:
    first = parameters[0].detach()
    sizes = [parameter.shape[0] for parameter in parameters]
    shape = (sum(sizes), *first.shape[1:])
    ends = [parameter.data_ptr() + parameter.numel() * parameter.element_size() for parameter in parameters]
    starts = [parameter.data_ptr() for parameter in parameters]
    storages = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    if len(storages) == 1 and starts[1:] == ends[:-1] and first.is_contiguous():
        return first.as_strided(shape, first.stride())  # fused by an earlier TargetModel over the same library model
    fused = torch.cat([parameter.detach() for parameter in parameters])
    for parameter, part in zip(parameters, fused.split(sizes), strict=True):
        if files:
            files.let_go(parameter)
        parameter.data = part
    return fused
