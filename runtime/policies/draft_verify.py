"""Draft & Verify (Zhang et al., arXiv 2309.08168): a chain from a plan, ended where its confidence falls under a threshold that adapts.

Published: a skip set found offline, chains of at most 8, threshold .8 at the start. After every step of which m of n drafted tokens
were accepted (adaptive draft-exiting, constants of the authors' code)

    AR  = .5 AR + .5 m / n
    th' = th + .01 if AR < .9, else th - .01 (th itself when the chain was full)
    th  = .9 th + .1 th'

The token under the threshold is still verified: its forward is already paid. AR starts at 0.
"""

from __future__ import annotations

from typing import Any, Self

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import Policy, PolicyContext, VerifyResult


class AdaptiveThreshold:
    """The confidence under which drafting stops, steered towards an acceptance rate."""

    def __init__(self, start: float, goal: float, step: float, rate_decay: float, decay: float) -> None:
        self._start, self._goal, self._step = start, goal, step
        self._rate_decay, self._decay = rate_decay, decay
        self.reset()

    def reset(self) -> None:
        self.value, self._rate = self._start, 0.0

    def update(self, n_accepted: int, n_drafted: int, full: bool) -> None:
        """Learns from a step; `full`: the chain reached its largest length, so that a lower threshold would change nothing."""
        self._rate = self._rate_decay * self._rate + (1 - self._rate_decay) * n_accepted / n_drafted
        wanted = self.value
        if self._rate < self._goal:
            wanted += self._step
        elif not full:
            wanted -= self._step
        self.value = self._decay * self.value + (1 - self._decay) * wanted


class DraftVerify(Policy):
    """A chain with an adaptive confidence stop.

    Args:
        n_tokens: longest chain. threshold: the confidence it stops under, at the start.
        goal: acceptance rate the threshold is steered to, by `step` at a time.
        rate_decay, threshold_decay: weight of the past in AR and in the threshold.
    """

    summary = "a chain from a plan, ended by an adaptive confidence threshold"

    def __init__(
        self,
        plan: Plan,
        n_tokens: int = 8,
        threshold: float = 0.8,
        goal: float = 0.9,
        step: float = 0.01,
        rate_decay: float = 0.5,
        threshold_decay: float = 0.9,
    ) -> None:
        self._plan = plan
        self._n_tokens = n_tokens
        self._threshold = AdaptiveThreshold(threshold, goal, step, rate_decay, threshold_decay)

    @classmethod
    def build(cls, context: PolicyContext, drafter: str = "", **parameters: Any) -> Self:
        return cls(context.plan(drafter), **parameters)

    def begin(self, sequence: Sequence) -> None:
        if not self.keeps_learned:
            self._threshold.reset()

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, node = CandidateTree(sequence.tokens[-1]), 0
        for _ in range(min(self._n_tokens, max_depth)):
            (proposal,) = sequence.propose(self._plan, tree, [node], probabilities=True)
            node = tree.add(node, proposal.tokens[0], self._plan.name)
            if proposal.probabilities[0] < self._threshold.value:
                break
        return tree

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        n_drafted = result.drafted - 1
        if n_drafted:
            n_accepted = sum(0 < node <= n_drafted for node in result.path)
            self._threshold.update(n_accepted, n_drafted, n_drafted >= self._n_tokens)
