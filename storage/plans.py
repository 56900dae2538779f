"""Documents that say what a plan is: the sub-layers it leaves out and how its linears are computed."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import field_validator

from casspec.storage.document import Document


class SkipSet(Document):
    """Sub-layers that a plan leaves out, 0-based layer indices, sorted and unique (layer sparsity of DSIA)."""

    attention: tuple[int, ...] = ()
    mlp: tuple[int, ...] = ()

    @field_validator("attention", "mlp")
    @classmethod
    def _sorted(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(layers)))

    def __len__(self) -> int:
        return len(self.attention) + len(self.mlp)

    def check(self, n_layers: int) -> Self:
        """Raises ValueError when an index does not exist in a model of `n_layers` layers."""
        for name, indices in (("attention", self.attention), ("mlp", self.mlp)):
            wrong = [i for i in indices if not 0 <= i < n_layers]
            if wrong:
                raise ValueError(
                    f"{name} layers {wrong} do not exist in a model of {n_layers} layers (0..{n_layers - 1})"
                )
        return self


Backend = Literal["lean", "generic"]
"""What runs a model's forwards: a forward of ours, or the library's own layers."""

Forwards = Literal["graphs", "operators"]
"""How a backend runs them, where that is not the usual way of its kind of device: captured as graphs on CUDA, by torch's operators on a
processor whose forwards could be compiled."""


def forwards_of(device: str, backend: str, compiles: bool) -> Forwards | None:
    """How forwards run on a device ("cpu", "cuda:0"), where they are to be compiled or not."""
    if device.startswith("cuda"):
        return "graphs" if compiles and backend == "lean" else None
    return None if compiles else "operators"


def were_compiled(device: str, backend: str, forwards: Forwards | None) -> bool:
    """Whether forwards that ran so on such a device were to be compiled."""
    return forwards != forwards_of(device, backend, compiles=False)


class Precision(StrEnum):
    """How the linears of a plan are computed."""

    TARGET = "target"
    INT8_DYNAMIC = "int8-dynamic"
    """8-bit weights, activations quantised row by row as they come."""
    INT4_WEIGHT = "int4-weight"
    """4-bit weights in groups, activations as they are."""

    @property
    def short(self) -> str:
        """int8 of int8-dynamic."""
        return self.value.partition("-")[0]


class Quantization(Document):
    """Precision of a plan and what it costs in memory beside the target's own weights."""

    precision: Precision = Precision.TARGET
    extra_bytes: int = 0
