"""Plans: which attention and MLP sub-layers of the target run in a forward (DSIA, CAS-Spec section 4).

A plan is a small immutable value handed to each forward. Nothing is switched globally and no weight is copied, so any number of
plans live over one set of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Precision, SkipSet


@dataclass(frozen=True, slots=True)
class Plan:
    """Sub-layers to run, in order, and the precision of their linears."""

    name: str
    n_layers: int
    steps: tuple[tuple[int, bool, bool], ...]
    """(layer, attention runs, MLP runs) for every layer of which anything runs."""
    precision: Precision = Precision.TARGET

    @classmethod
    def full(cls, n_layers: int) -> Plan:
        """The target itself: every sub-layer."""
        return cls.skipping(SkipSet(), n_layers, name="target")

    @classmethod
    def skipping(cls, skip: SkipSet, n_layers: int, name: str = "", precision: Precision = Precision.TARGET) -> Plan:
        """The target without the sub-layers in `skip`.

        Raises ValueError for layers that do not exist, UnsupportedOption for a precision no kernel serves yet.
        """
        skip.check(n_layers)
        if precision is not Precision.TARGET:
            raise UnsupportedOption(f"precision '{precision}' is not available in this build; use '{Precision.TARGET}'")
        steps = []
        for layer in range(n_layers):
            attention, mlp = layer not in skip.attention, layer not in skip.mlp
            if attention or mlp:
                steps.append((layer, attention, mlp))
        return cls(name or f"skip-{skip.content_hash()[:8]}", n_layers, tuple(steps), precision)

    @property
    def n_attention(self) -> int:
        return sum(attention for _, attention, _ in self.steps)

    @property
    def n_mlp(self) -> int:
        return sum(mlp for _, _, mlp in self.steps)
