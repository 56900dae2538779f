"""Token recycling alone: a static tree over the target's recycled top successors (Luo et al. 2024).

Published: 8 successors a token, a tree of 80 nodes, 6 deep, proposals in the recycled order. The published node layout is not
reproduced; ours comes from the same principle, the most probable nodes when rank r of any row is accepted with probability
`RANK_ACCEPTANCE[r]`. Tuned: fewer nodes, and rows perturbed with the target's noise (`coupled`).
"""

from __future__ import annotations

from typing import Any, Self

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.layouts import static_layout
from casspec.runtime.drafters.token_recycling import RecyclingMatrix, TokenRecycling
from casspec.runtime.policies.base import Policy, PolicyContext, VerifyResult

RANK_ACCEPTANCE = (0.5, 0.14, 0.07, 0.05, 0.035, 0.025, 0.02, 0.015)


class TokenRecyclingPolicy(Policy):
    summary = "a static tree over the target's recycled successors"
    needs_top = top_by_token = True

    def __init__(
        self, matrix: RecyclingMatrix | None = None, n_nodes: int = 80, max_depth: int = 6, coupled: bool = False
    ) -> None:
        self._recycling = TokenRecycling(matrix)
        self._layout = static_layout(n_nodes, max_depth, RANK_ACCEPTANCE)
        self._max_depth = max_depth
        self._coupled = coupled

    @classmethod
    def build(cls, context: PolicyContext, **parameters: Any) -> Self:
        return cls(context.matrix, **parameters)

    def begin(self, sequence: Sequence) -> None:
        if not self.keeps_learned:
            self._recycling.begin()
        self._recycling.refresh([sequence.tokens[place] for place in sequence.prompt_places], *sequence.prompt_top)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree = CandidateTree(sequence.tokens[-1])
        noise = sequence.noise_rows(self._max_depth) if self._coupled else None
        inverse_temperature = 1 / (sequence.sampling.temperature or 1.0)
        place: dict[int, int] = {0: 0}
        successors: dict[int, list[int]] = {}
        for index, (parent, rank) in enumerate(self._layout, start=1):
            node = place.get(parent)
            if node is None or tree.depths[node] >= max_depth:
                continue
            if node not in successors:
                row = self._recycling.row(tree.tokens[node])
                tokens = [] if row is None else row[0]
                if row is not None and noise is not None:
                    gumbel = noise[tree.depths[node]].of(tokens)
                    scores = [value * inverse_temperature + g for value, g in zip(row[1], gumbel, strict=True)]
                    tokens = [token for _, token in sorted(zip(scores, tokens, strict=True), reverse=True)]
                successors[node] = tokens
            if rank < len(successors[node]):
                place[index] = tree.add(node, successors[node][rank], TokenRecycling.name)
        return tree

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        tokens = [result.tree.tokens[node] for node in result.path]
        self._recycling.refresh(tokens, *result.outputs.rows(result.path))
