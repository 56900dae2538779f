"""Plans: which attention and MLP sub-layers of the target run in a forward (DSIA, CAS-Spec section 4).

A plan is a small immutable value handed to each forward. Nothing is switched globally: any number of plans live over one set of
weights, and those of one precision share its packed copy (`runtime/model/lean/quantization.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from casspec.storage.schema import Precision, SkipSet

Steps = tuple[tuple[int, bool, bool], ...]
"""Sub-layers in order: (layer, attention runs, MLP runs) for every layer of which anything runs."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Sub-layers to run, in order, and the precision of their linears."""

    name: str
    n_layers: int
    steps: Steps
    precision: Precision = Precision.TARGET

    @classmethod
    def full(cls, n_layers: int) -> Plan:
        """The target itself: every sub-layer."""
        return cls.skipping(SkipSet(), n_layers, name="target")

    @classmethod
    def skipping(cls, skip: SkipSet, n_layers: int, name: str = "", precision: Precision = Precision.TARGET) -> Plan:
        """The target without the sub-layers in `skip`.

        Whether a precision is available is the target's to say, see `TargetModel.prepare`. Without a `name` it is for instance int8,
        skip-1a2b3c4d or int8-skip-1a2b3c4d. Raises ValueError for layers that do not exist.
        """
        skip.check(n_layers)
        steps = []
        for layer in range(n_layers):
            attention, mlp = layer not in skip.attention, layer not in skip.mlp
            if attention or mlp:
                steps.append((layer, attention, mlp))
        return cls(name or _name(skip, precision), n_layers, tuple(steps), precision)

    @property
    def n_attention(self) -> int:
        return sum(attention for _, attention, _ in self.steps)

    @property
    def n_mlp(self) -> int:
        return sum(mlp for _, _, mlp in self.steps)


def _name(skip: SkipSet, precision: Precision) -> str:
    """By content: plans are told apart by name."""
    if precision is Precision.TARGET:
        return f"skip-{skip.content_hash()[:8]}"
    return f"{precision.short}-skip-{skip.content_hash()[:8]}" if len(skip) else precision.short
