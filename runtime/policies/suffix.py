"""SuffixDecoding: a tree of the continuations that the text so far, and earlier outputs, make likeliest (arXiv 2411.04975).

Every suffix of the text that occurred before offers a tree of at most `factor` times its length nodes; the one with the largest
sum of D, the expected number of accepted tokens, is verified.

Published settings: suffixes up to 64 tokens, factor 1 to 4, two indexes, one over this request and one over earlier outputs (kept by
a decoder that learns, `Decoder.learning`). Tuned: the factor, and a smallest D.
"""

from __future__ import annotations

from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.drafters.suffix import EarlierOutputs, SuffixIndex
from casspec.runtime.policies.base import Policy, VerifyResult


class SuffixDecoding(Policy):
    """Policy of SuffixDecoding.

    Args:
        factor: nodes of a tree per token of the match.
        max_match: longest suffix looked for.
        max_nodes: bound of a tree.
        min_probability: smallest D of a node.
        memory_tokens: earlier outputs kept.
    """

    summary = "a tree of what followed the longest suffixes in the text and in earlier outputs"

    def __init__(
        self,
        factor: float = 1.0,
        max_match: int = 64,
        max_nodes: int = 64,
        min_probability: float = 0.0,
        memory_tokens: int = 50_000,
    ) -> None:
        self._factor = factor
        self._max_nodes = max_nodes
        self._min_probability = min_probability
        self._text = SuffixIndex(max_match)
        self._earlier = EarlierOutputs(max_match, memory_tokens)
        self._output: list[int] = []

    def begin(self, sequence: Sequence) -> None:
        if not self.keeps_learned:
            self._earlier.clear()
        elif self._output:
            self._earlier.add(self._output)
        self._output = []
        self._text.begin(sequence.tokens)

    def draft(self, sequence: Sequence, max_depth: int) -> CandidateTree:
        tree = CandidateTree(sequence.tokens[-1])
        suffix = sequence.tokens[-self._text.max_depth :]
        best, chosen = 0.0, []
        for index in (self._text, self._earlier.index):
            for state, length in index.matches(suffix):
                n_nodes = min(int(self._factor * length), self._max_nodes)
                if n_nodes <= best:
                    break  # D is at most 1: no tree of a shorter match can have a larger sum
                total, nodes = index.expand(state, n_nodes, max_depth, self._min_probability)
                if total > best:
                    best, chosen = total, nodes
        for parent, token, probability in chosen:
            tree.add(parent, token, "suffix", probability)
        return tree

    def observe(self, sequence: Sequence, result: VerifyResult) -> None:
        self._text.extend(result.emitted)
        self._output.extend(result.emitted)
