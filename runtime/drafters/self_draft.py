"""The target as its own drafter: a plan (sub-layers skipped, linears in fewer bits) proposes the tokens it would emit itself.

Under sampling the plan's scores carry the same noise as the target's, log q~ + g, so that its best tokens follow the target's sample
(`runtime/noise.py`). One forward serves any number of nodes: siblings, a whole retrieved tree under review, or the end of a chain.
"""

from __future__ import annotations

from dataclasses import dataclass

from casspec.runtime.dsia import Plan
from casspec.runtime.sequence import Sequence
from casspec.runtime.tree import CandidateTree


@dataclass(slots=True)
class Proposal:
    """What a plan says after one node, best first."""

    tokens: list[int]
    scores: list[float]
    """log q~ + g up to a constant, one more than asked for: the gap to the next is the confidence of a token."""
    probabilities: list[float]
    """q~ of the tokens, without noise; [] unless asked for."""

    @property
    def gap(self) -> float:
        """Nats between the two best scores."""
        return self.scores[0] - self.scores[1]


class SelfDraft:
    """A plan that drafts."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.name = plan.name

    def propose(
        self, sequence: Sequence, tree: CandidateTree, nodes: list[int], width: int = 1, probabilities: bool = False
    ) -> list[Proposal]:
        """One forward of the plan; the `width` best tokens after each of `nodes`.

        Args:
            probabilities: also the plan's own probability of each, what published confidence thresholds are about.
        """
        depths = [tree.depths[node] for node in nodes]
        logits = sequence.draft(self.plan, tree, nodes)
        scores = sequence.perturbed(logits, depths)
        values, tokens = scores.topk(min(width + 1, scores.shape[-1]), dim=-1)
        chosen, listed = tokens.tolist(), values.tolist()
        if not probabilities:
            return [Proposal(ids[:width], found, []) for ids, found in zip(chosen, listed, strict=True)]
        likely = sequence.sampling.scores(logits).softmax(-1).gather(-1, tokens).tolist()
        return [
            Proposal(ids[:width], found, odds[:width]) for ids, found, odds in zip(chosen, listed, likely, strict=True)
        ]
