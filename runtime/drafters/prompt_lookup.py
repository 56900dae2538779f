"""Prompt lookup: what followed the last place in the text that ends like this one (Saxena 2023; LLMA, Yang et al. 2023).

As published: the longest n-gram first (3 down to 1), its first occurrence, 10 tokens. Tuned: longer n-grams, the most recent
occurrence, and leaves of a tree as starting points (the path is appended to the text).
"""

from __future__ import annotations

from collections.abc import Sequence


class PromptLookup:
    """An n-gram index over the text so far.

    Args:
        max_ngram, min_ngram: lengths tried, longest first.
        most_recent: keep the last occurrence of an n-gram rather than the first.

    An occurrence is indexed once a token follows it, so the end of the text never matches itself.
    """

    name = "prompt-lookup"

    def __init__(self, max_ngram: int = 3, min_ngram: int = 1, most_recent: bool = False) -> None:
        self.max_ngram = max_ngram
        self.min_ngram = min_ngram
        self.most_recent = most_recent
        self.text: list[int] = []
        self._index: dict[tuple[int, ...], int] = {}

    def begin(self, tokens: Sequence[int]) -> None:
        """Forgets everything and indexes a prompt."""
        self.text = []
        self._index = {}
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Appends emitted tokens."""
        text, index = self.text, self._index
        first = len(text)
        text.extend(tokens)
        lengths = range(self.min_ngram, self.max_ngram + 1)
        for end in range(max(first, 1), len(text)):
            for n in lengths:
                if n > end:
                    break
                gram = tuple(text[end - n : end])
                if self.most_recent or gram not in index:
                    index[gram] = end

    def match(self, suffix: Sequence[int]) -> tuple[int, int]:
        """(position, length): `text[position]` followed the longest indexed n-gram that ends `suffix`; length 0 without one."""
        index = self._index
        for n in range(min(self.max_ngram, len(suffix)), self.min_ngram - 1, -1):
            position = index.get(tuple(suffix[-n:]))
            if position is not None:
                return position, n
        return 0, 0

    def propose(self, suffix: Sequence[int], n_tokens: int) -> list[int]:
        """Up to `n_tokens` tokens that followed the match of `suffix`; [] without one."""
        position, length = self.match(suffix)
        return self.text[position : position + n_tokens] if length else []
