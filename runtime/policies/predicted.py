"""A text that somebody expects, drafted ahead of what a method drafts.

For as long as the text follows the expected one, a chain of it is verified, the longer the better it was followed. Where the text left
it, the method drafts, until some tokens of the text occur in the expected one again.
"""

from __future__ import annotations

from collections.abc import Sequence as Several

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.policies.base import Policy, VerifyResult

PREDICTION = "prediction"
"""Name of its nodes."""

FIRST, MOST = 8, 32
"""Tokens of the first chain, and of any."""

LONGEST_MATCH, SHORTEST_MATCH = 6, 2
"""Tokens of the text that have to occur in the expected one for it to be followed again."""


class Predicted(Policy):
    """A method that is told what to expect. Of one request.

    Args:
        method: drafts where the text is not the expected one.
        prediction: tokens of the expected text.
    """

    summary = "an expected text, then another method"

    def __init__(self, method: Policy, prediction: Several[int]) -> None:
        self._method, self._prediction = method, list(prediction)
        self.needs_top, self.top_by_token = method.needs_top, method.top_by_token
        self._lookup = PromptLookup(LONGEST_MATCH, SHORTEST_MATCH)
        self._lookup.begin(self._prediction)
        self._next: int | None = 0
        self._length = FIRST
        self._predicts = self._behind = False

    def begin(self, sequence: Sequence) -> None:
        self._next, self._length = 0, FIRST
        self._predicts = self._behind = False
        self._method.begin(sequence)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        chain = [] if self._next is None else self._prediction[self._next :][: min(self._length, max_depth)]
        self._predicts = bool(chain)
        if not chain:
            if self._behind:
                self._method.begin(sequence)
                self._behind = False
            return self._method.draft(sequence, max_depth)
        self._behind = True
        tree, node = CandidateTree(sequence.tokens[-1]), 0
        for token in chain:
            node = tree.add(node, token, PREDICTION)
        return tree

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        for token in result.emitted:
            follows = self._next is not None and self._prediction[self._next : self._next + 1] == [token]
            self._next = self._next + 1 if follows and self._next is not None else None
        if self._predicts:
            whole = len(result.path) == len(result.tree)
            self._length = min(2 * self._length, MOST) if whole else FIRST
        else:
            self._method.observe(sequence, result)
        if self._next is None:
            position, length = self._lookup.match(sequence.tokens[-LONGEST_MATCH:])
            self._next = position if length else None
