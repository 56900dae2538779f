"""The linears of quantised plans over a model whose linears are native: packed once a precision, shared by every plan of it.

The rules are those of `runtime/model/lean/quantization.py`: rounded to nearest without data, heads in 8 bits in both precisions. A linear
that 4 bits do not divide into groups has 8. One that would not be smaller, a router of a few outputs for instance, stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

from casspec.runtime.model.generic.linears.packed import NativeLinear, PackedLinears
from casspec.runtime.model.lean.quantization import memory_refusal
from casspec.runtime.model.lean.tiled_kernels import Int4Native, Int8Native, NativeKernel
from casspec.runtime.native.layout import INT4, INT8
from casspec.storage.schema import Precision

EIGHT, FOUR = (Int8Native(), INT8), (Int4Native(), INT4)

KERNELS = {Precision.INT8_DYNAMIC: (EIGHT,), Precision.INT4_WEIGHT: (FOUR, EIGHT)}
"""By precision, kernels and kinds of what they pack: the first that serves a linear."""


@dataclass(frozen=True, slots=True)
class Fewer:
    """How a linear is packed in few bits. `n_bytes`: what that takes."""

    linear: NativeLinear
    kernel: NativeKernel
    kind: int
    n_bytes: int


class QuantisedLinears:
    """Which linears a precision packs, and their stand-ins once they are packed."""

    def __init__(self, packed: PackedLinears, dtype: torch.dtype) -> None:
        self._dtype, self._memory = dtype, packed.memory
        self._chosen = {precision: _chosen(packed, precision) for precision in KERNELS}
        self._heads = packed.heads

    def refusal(self, precision: Precision, is_packed: bool) -> str | None:
        """Why plans of this precision cannot run here, in one line; None when they can."""
        reason = KERNELS[precision][0][0].refuses(self._dtype)
        if reason is not None:
            return reason
        if not self._chosen[precision].keys() - self._heads:
            return f"no linear of this model is served by kernels of {precision}"
        return memory_refusal(self.extra_bytes(precision), torch.device("cpu"), is_packed)

    def extra_bytes(self, precision: Precision) -> int:
        """Memory that a precision takes beside the target's own."""
        return sum({id(fewer.linear.packed): fewer.n_bytes for fewer in self._chosen[precision].values()}.values())

    def bytes_by_linear(self, precision: Precision) -> dict[int, int]:
        """By identity of the library's linear, what its weight takes; those that are not there stay as they are."""
        return {linear: fewer.n_bytes for linear, fewer in self._chosen[precision].items()}

    def head_bytes(self, precision: Precision) -> int:
        """Of heads; 0 where they stay as they are."""
        return sum(fewer.n_bytes for linear, fewer in self._chosen[precision].items() if linear in self._heads)

    @torch.inference_mode()
    def stand_ins(self, precision: Precision) -> dict[int, NativeLinear]:
        """Packs a precision. By identity of the target's own stand-in, what takes its place."""
        made, weights = {}, {}
        for fewer in self._chosen[precision].values():
            linear, known = fewer.linear, id(fewer.linear.packed)
            if known not in weights:
                weights[known] = fewer.kernel.pack(linear.packed.unpacked())
            made[id(linear)] = NativeLinear(linear.inner, weights[known], linear.shape, fewer.kind, self._memory)
        return made


def _chosen(packed: PackedLinears, precision: Precision) -> dict[int, Fewer]:
    """By identity of the library's linear."""
    found = {}
    for key, linear in packed.linears.items():
        weight, n_plain = linear.packed, prod(linear.shape) * linear.packed.dtype.itemsize
        for kernel, kind in (EIGHT,) if key in packed.heads else KERNELS[precision]:
            n_bytes = kernel.n_bytes(weight.columns, weight.n_in, weight.dtype)
            if kernel.refuses_shape(weight.columns, weight.n_in) is None and n_bytes < n_plain:
                found[key] = Fewer(linear, kernel, kind, n_bytes)
                break
    return found
