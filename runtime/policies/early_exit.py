"""Early exit: the first layers, then the target's own norm and head (LayerSkip, arXiv 2404.16710, section 4.3, without its training).

LayerSkip trains the exits; on an ordinary model they agree with the target far less often, which is what this method shows beside
plans that skip inner layers. Published: exits between a quarter and a half of the layers, chains of 6. Ours: half.
"""

from __future__ import annotations

from typing import Any, Self

from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import PolicyContext
from casspec.runtime.policies.layer_sparse import LayerSparse
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import SkipSet


class EarlyExit(LayerSparse):
    summary = "a chain drafted by the target's first layers and its head"

    def __init__(self, plan: Plan, n_tokens: int = 6, min_gap: float = 0.0) -> None:
        super().__init__(plan, n_tokens, min_gap)

    @classmethod
    def build(  # type: ignore[override]  # its plan follows from the share, no drafter of the profile is asked for
        cls, context: PolicyContext, exit_share: float = 0.5, **parameters: Any
    ) -> Self:
        """`exit_share`: layers that run over all layers. Raises UnsupportedOption outside (0, 1]."""
        return cls(first_layers(context.target.n_layers, exit_share), **parameters)


def first_layers(n_layers: int, share: float) -> Plan:
    """A plan that leaves after `share` of the layers, at least one."""
    if not 0 < share <= 1:
        raise UnsupportedOption(f"exit_share is a share of the layers in (0, 1], not {share:g}")
    count = max(round(share * n_layers), 1)
    skipped = tuple(range(count, n_layers))
    return Plan.skipping(SkipSet(attention=skipped, mlp=skipped), n_layers, f"exit-{count}")
