"""SWIFT: the target with sub-layers skipped, the skip set searched for while decoding (arXiv 2410.06916).

Before each draft, once a window of tokens was emitted, one skip set more is scored: the share of the window's tokens that the plan
would have drafted, in one parallel forward on its own rows (matchness). The best so far drafts. Drafts are chains with side tokens, more
of them where the drafter is less sure.

Published settings: share .45 of the inner sub-layers skipped, window 32, a Gaussian process at every 25th trial, the search over at
matchness .93, after 300 idle trials or 1,000; at most 25 tokens while the best one has probability .8; 3/5/8/10 tokens side by side above
confidence .95/.8/.5/0, under sampling 1/3/5/10. Tuned: the profile's skip set without a search, thresholds. What differs: the start
set is scored too, where the published search takes the first set it tries; a tree is cut at what a step can verify.
"""

from __future__ import annotations

from typing import Any, Self

from casspec.runtime.decoding.sequence import MAX_TREE_NODES, Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.skip_search import SkipSearch, skip_set_of
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies.base import Policy, PolicyContext
from casspec.storage.errors import UnsupportedOption

SIDE_TOKEN_EDGES = (0.95, 0.8, 0.5)
SIDE_TOKENS = {True: (3, 5, 8, 10), False: (1, 3, 5, 10)}
"""Tokens of one position by whether decoding is greedy, for confidence above each edge and below all."""


class Swift(Policy):
    """Policy of SWIFT.

    Args:
        plan: what drafts until the search has found better.
        skip_ratio, gaussian_every, stop_score, max_idle, max_trials: of the search, see `SkipSearch`.
        window: tokens a skip set is scored on.
        n_tokens, threshold: longest chain, and the confidence under which it ends.
        search: whether to search at all.
    """

    summary = "a chain with side tokens from a skip set searched for while decoding"

    def __init__(
        self,
        plan: Plan,
        skip_ratio: float = 0.45,
        window: int = 32,
        gaussian_every: int = 25,
        stop_score: float = 0.93,
        max_idle: int = 300,
        max_trials: int = 1000,
        n_tokens: int = 25,
        threshold: float = 0.8,
        search: bool = True,
    ) -> None:
        if not 1 <= window <= MAX_TREE_NODES:
            raise UnsupportedOption(f"swift scores skip sets on 1 to {MAX_TREE_NODES} tokens, not window={window}")
        self._start = plan
        self._window = window
        self._limits = skip_ratio, gaussian_every, stop_score, max_idle, max_trials
        self._n_tokens = n_tokens
        self._threshold = threshold
        self._searches = search
        self._search: SkipSearch | None = None

    @classmethod
    def build(cls, context: PolicyContext, drafter: str = "", skip_ratio: float = 0.45, **parameters: Any) -> Self:
        return cls(context.plan(drafter, skip_ratio), skip_ratio, **parameters)

    def begin(self, sequence: Sequence) -> None:
        if self._search is None or not self.keeps_learned:
            skip_ratio, gaussian_every, stop_score, max_idle, max_trials = self._limits
            self._search = SkipSearch(
                self._start.n_layers,
                skip_ratio,
                gaussian_every,
                stop_score=stop_score,
                max_idle=max_idle,
                max_trials=max_trials,
            )
            self._plan = self._start
        self._n_prompt = len(sequence.tokens)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, node = CandidateTree(sequence.tokens[-1]), 0
        if self._searches and max_depth > 0 and len(sequence.tokens) - self._n_prompt > self._window:
            self._improve(sequence)
        side_tokens = SIDE_TOKENS[sequence.sampling.greedy]
        for _ in range(min(self._n_tokens, max_depth)):
            (proposal,) = sequence.propose(self._plan, tree, [node], side_tokens[-1], probabilities=True)
            confidence = proposal.probabilities[0]
            n_side = side_tokens[sum(confidence <= edge for edge in SIDE_TOKEN_EDGES)]
            parent, node = node, len(tree)
            for token in proposal.tokens[: min(n_side, MAX_TREE_NODES - len(tree))]:
                tree.add(parent, token, "swift")
            if confidence < self._threshold or len(tree) == MAX_TREE_NODES:
                break
        return tree

    def _improve(self, sequence: Sequence) -> None:
        """Scores one skip set more, the start's first, and drafts with it from now on if it is the best so far."""
        search = self._search
        if search is None or search.over:
            return
        if search.best is None:
            plan, skip = self._start, skip_set_of(self._start)
        else:
            skip = search.propose()
            plan = Plan.skipping(skip, self._start.n_layers, precision=self._start.precision)
        if search.record(skip, sequence.matches(plan, self._window) / self._window):
            self._plan = plan
