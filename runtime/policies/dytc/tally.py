"""How often the drafters of a cascade were right, counted without decay: what a profile's figures are compared with."""

from __future__ import annotations

from collections.abc import Iterable

from casspec.runtime.decoding.acceptance import LITERAL_STATES, N_GAP, N_MATCH, is_literal
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.drafters.token_recycling import TokenRecycling
from casspec.runtime.policies.dytc.reviewer import Reviewer

N_CELLS = N_MATCH * LITERAL_STATES * N_GAP
"""Of retrieval."""


class Tally:
    """Of retrieval, by cell.

    Attributes:
        trials: candidates whose position the target has decided. right: those that were its token.
    """

    def __init__(self) -> None:
        self.trials, self.right = [0] * N_CELLS, [0] * N_CELLS

    def taken(self, reviewers: Iterable[Reviewer]) -> dict[str, tuple[int, int]]:
        """(trials, right) by drafter: retrieval's two kinds and these self-drafters, of each its best tokens. All begin anew."""
        found = {}
        for name, literal in ((PromptLookup.name, True), (TokenRecycling.name, False)):
            cells = [cell for cell, n in enumerate(self.trials) if n and is_literal(cell) is literal]
            found[name] = sum(self.trials[cell] for cell in cells), sum(self.right[cell] for cell in cells)
        self.trials[:], self.right[:] = [0] * N_CELLS, [0] * N_CELLS
        for reviewer in reviewers:
            found[reviewer.name] = reviewer.trials, reviewer.right
            reviewer.trials = reviewer.right = 0
        return {name: counts for name, counts in found.items() if counts[0]}
