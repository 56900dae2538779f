"""DyTC without one of its answers to what is broken in the published algorithm: what each is worth.

leaf         the draft depends on the leaf: off, nothing is looked up below the root's own match
match        acceptance is conditioned on the match: off, all match lengths share their estimates
cost         the renewal-rate rule: off, verification is free and drafting is compared with autoregressive steps
rank         candidates are calibrated by score: off, all of one kind share one estimate whatever their rank and confidence
exploration  optimism for self-drafters that are seldom used: off, none
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

from casspec.runtime.decoding.acceptance import (
    LITERAL_STATES,
    N_CONFIDENCE,
    N_GAP,
    AcceptanceTable,
    MergedTable,
    retrieval_prior_means,
    self_prior_means,
)
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import AcceptancePrior

RETRIEVAL_TABLE = "retrieval"


@dataclass(frozen=True)
class Ablation:
    """Which answers are in force."""

    leaf: bool = True
    match: bool = True
    cost: bool = True
    rank: bool = True
    exploration: bool = True

    @classmethod
    def of(cls, without: str) -> Self:
        """From comma-separated names of answers switched off. Raises UnsupportedOption for an unknown one."""
        names = [field.name for field in fields(cls)]
        off = [name.strip() for name in without.split(",") if name.strip()]
        for name in off:
            if name not in names:
                raise UnsupportedOption(f"dytc has no answer '{name}' to do without; answers: {', '.join(names)}")
        return cls(**dict.fromkeys(off, False))

    def retrieval_table(self, prior: AcceptancePrior | None) -> AcceptanceTable:
        """Cells (match * LITERAL_STATES + literal) * N_GAP + gap, merged over what is switched off."""
        means = retrieval_prior_means()
        if self.match and self.rank:
            return AcceptanceTable(RETRIEVAL_TABLE, means, prior)
        keys = [
            (cell // (LITERAL_STATES * N_GAP) * self.match, cell // N_GAP % LITERAL_STATES, cell % N_GAP * self.rank)
            for cell in range(len(means))
        ]
        return MergedTable(RETRIEVAL_TABLE, means, prior, _numbered(keys))

    def reviewer_table(self, name: str, acceptance: float, prior: AcceptancePrior | None) -> AcceptanceTable:
        """Cells by confidence, merged into one when they are switched off."""
        means = self_prior_means(acceptance)
        if self.rank:
            return AcceptanceTable(name, means, prior)
        return MergedTable(name, means, prior, [0] * N_CONFIDENCE)


def _numbered(keys: list[tuple[int, int, int]]) -> list[int]:
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys]
