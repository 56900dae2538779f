"""Prompt lookup alone: a chain copied from the longest n-gram match, verified at once.

Published settings (Saxena 2023): n-grams of 3 down to 1, the first occurrence, 10 tokens.
"""

from __future__ import annotations

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.prompt_lookup import PromptLookup
from casspec.runtime.policies.base import Policy, VerifyResult


class PromptLookupPolicy(Policy):
    summary = "a chain copied from the longest n-gram match"

    def __init__(self, max_ngram: int = 3, min_ngram: int = 1, n_tokens: int = 10, most_recent: bool = False) -> None:
        self._lookup = PromptLookup(max_ngram, min_ngram, most_recent)
        self._n_tokens = n_tokens

    def begin(self, sequence: Sequence) -> None:
        self._lookup.begin(sequence.tokens)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree, node = CandidateTree(sequence.tokens[-1]), 0
        suffix = sequence.tokens[-self._lookup.max_ngram :]
        for token in self._lookup.propose(suffix, min(self._n_tokens, max_depth)):
            node = tree.add(node, token, PromptLookup.name)
        return tree

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        self._lookup.extend(result.emitted)
