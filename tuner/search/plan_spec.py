"""Which plan: what a search tells candidates apart by, and the name under which everything later knows the drafter."""

from __future__ import annotations

from dataclasses import dataclass, field

from casspec.runtime.model.plan import Plan
from casspec.storage.schema import DrafterCandidate, Precision, SkipSet


@dataclass(frozen=True, slots=True)
class PlanSpec:
    """Sub-layers left out and the precision of the linears that run; without either it is the target itself."""

    skip: SkipSet = field(default_factory=SkipSet)
    precision: Precision = Precision.TARGET

    @classmethod
    def of(cls, candidate: DrafterCandidate) -> PlanSpec:
        return cls(candidate.skip, candidate.quantization.precision)

    @property
    def is_target(self) -> bool:
        """Drafting with it is decoding with the target: never worth evaluating."""
        return self == PlanSpec()

    @property
    def name(self) -> str:
        """For instance int8, sparse-6a4m-1f3c (six attention and four MLP sub-layers left out), int8-6a4m-1f3c."""
        if not len(self.skip):
            return self.precision.short
        kind = "sparse" if self.precision is Precision.TARGET else self.precision.short
        return f"{kind}-{len(self.skip.attention)}a{len(self.skip.mlp)}m-{self.skip.content_hash()[:4]}"

    def plan(self, n_layers: int) -> Plan:
        """The plan the runtime runs. Raises ValueError for layers that do not exist."""
        return Plan.skipping(self.skip, n_layers, self.name, self.precision)
