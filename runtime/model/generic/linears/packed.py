"""The linears of a library model run by native calls, its own weights let go where that was asked for, and filled again."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from casspec.runtime.model.generic.linears.found import FoundLinears, is_transposed
from casspec.runtime.model.generic.views import StandIn, copied
from casspec.runtime.model.lean.weights import MappedFiles, give_back_freed_memory
from casspec.runtime.native import packing
from casspec.runtime.native.layout import LANES
from casspec.runtime.native.packing import KINDS, PackedWeight

KEPT_BYTES = 64 * 2**20
"""Freed memory that the allocator may keep while more is packed."""

PROBES = 4
"""Tokens, the last ones, by which a lookup in packed rows is compared with the library's."""


class NativeLinear(StandIn):
    """Takes the place of a linear. Attributes: `packed`, the weight that it reads; `shape`, (out, in) of it."""

    def __init__(self, inner: Any, packed: Any, shape: tuple[int, int], kind: int, memory: Any) -> None:
        from casspec.runtime.native.steps.lone_linear import LoneLinear  # needs numba, which plain forwards do without

        super().__init__(inner)
        self.packed, self.shape, (n_out, n_in) = packed, shape, shape
        self._multiply = LoneLinear(packed, n_in, n_out, inner.bias, inner.weight.dtype, kind, memory)

    def forward(self, x: Tensor) -> Tensor:
        return self._multiply(x)


class PackedEmbedding(StandIn):
    """Takes the place of an embedding whose rows are those of a packed head. What it does to rows it does still."""

    def __init__(self, inner: nn.Embedding, packed: PackedWeight) -> None:
        super().__init__(inner)
        self._rows = packed.values.transpose(1, 2)  # [vectors, LANES, inputs]
        twin: Any = copied(inner, {})
        twin._parameters = dict(inner._parameters)
        twin.padding_idx = None
        self.__dict__["_twin"] = twin

    def forward(self, tokens: Tensor) -> Tensor:
        rows = self._rows[tokens // LANES, tokens % LANES].view(-1, self._rows.shape[2])
        self._twin._parameters["weight"] = rows
        return self._twin(torch.arange(len(rows)).view_as(tokens))


class PackedLinears:
    """Packs linears once.

    Args:
        model: the library model whose weights are let go, one after the other, so that nothing is held twice; None keeps them. A weight
            that something else than these modules looks at stays.
    """

    def __init__(self, found: FoundLinears, model: Any = None) -> None:
        from casspec.runtime.native.steps.lone_linear import Memory

        self.memory = Memory()
        self.heads = found.heads
        self.linears: dict[int, NativeLinear] = {}
        """By identity of the library's."""
        self._embedding: PackedEmbedding | None = None
        self._released: list[tuple[Tensor, PackedWeight, bool]] = []
        try:
            self._pack(found, model)
        except BaseException:
            self.restore()
            raise

    def stand_in(self, module: nn.Module) -> nn.Module | None:
        """What takes the place of a module of the library; None for what stays."""
        if self._embedding is not None and module is self._embedding.inner:
            return self._embedding
        return self.linears.get(id(module))

    def restore(self) -> None:
        """Fills the library's own weights again, with the same bits as before; they are held twice from then on."""
        for weight, packed, turned in self._released:
            weight.data = packed.unpacked().t().contiguous() if turned else packed.unpacked()
        self._released.clear()

    def _pack(self, found: FoundLinears, model: Any = None) -> None:
        files, freed = MappedFiles(), 0
        if model is not None:
            for parameter in model.parameters():  # read to take a fingerprint
                files.let_go(parameter)
        for weight, linears in _by_weight(found.linears):
            turned = is_transposed(linears[0])
            packed = packing.packed((weight.detach().t() if turned else weight.detach()).contiguous())
            for linear in linears:
                kind = KINDS[weight.dtype]
                self.linears[id(linear)] = NativeLinear(linear, packed, packed.shape, kind, self.memory)
            is_ours = model is not None and id(weight) in found.separate
            if not is_ours or not self._rows_serve(found.embedding, weight, packed):
                continue
            files.let_go(weight)
            freed += weight.nbytes
            self._released.append((weight, packed, turned))
            weight.data = weight.data.new_empty(0)
            if freed > KEPT_BYTES:
                give_back_freed_memory()
                freed = 0
        if self._released:
            give_back_freed_memory()

    def _rows_serve(self, embedding: nn.Embedding | None, weight: Tensor, packed: PackedWeight) -> bool:
        """Whether whoever looks up rows of a weight is served by the packed ones, from now on."""
        if embedding is None or embedding.weight is not weight:
            return True
        candidate = PackedEmbedding(embedding, packed)
        tokens = len(weight) - 1 - torch.arange(PROBES)[None] % len(weight)
        if not torch.equal(candidate(tokens), embedding(tokens)):
            return False
        self._embedding = candidate
        return True


def _by_weight(linears: tuple[Any, ...]) -> list[tuple[Tensor, list[Any]]]:
    """Linears that share a weight, together."""
    groups: dict[int, tuple[Tensor, list[Any]]] = {}
    for linear in linears:
        groups.setdefault(id(linear.weight), (linear.weight, []))[1].append(linear)
    return list(groups.values())
