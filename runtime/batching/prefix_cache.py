"""Rows of finished texts, kept for texts that begin alike: the longest common beginning first, the longest unused out first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import takewhile

from casspec.runtime.decoding.sequence import KnownPrefix
from casspec.runtime.model.kv_cache import KVCache

LEAST_TOKENS = 16
"""A shorter beginning is not worth a copy."""


@dataclass(frozen=True, eq=False)
class KeptText:
    """A text whose rows are kept.

    Attributes:
        tokens: those whose rows are in the cache. top: best successors after each of them, [] and [] where nobody kept them.
    """

    tokens: list[int]
    cache: KVCache
    top: tuple[list[list[int]], list[list[float]]] = field(default_factory=lambda: ([], []))

    @property
    def n_bytes(self) -> int:
        return self.cache.n_bytes


class PrefixCache:
    """Texts by when they were used last.

    Attributes:
        hits, reused_tokens: how often a beginning was found, and how many tokens did not have to be computed.
    """

    def __init__(self) -> None:
        self._texts: OrderedDict[int, KeptText] = OrderedDict()
        self._next = 0
        self.hits = self.reused_tokens = 0

    def __len__(self) -> int:
        return len(self._texts)

    @property
    def n_bytes(self) -> int:
        return sum(text.n_bytes for text in self._texts.values())

    def keep(self, text: KeptText) -> None:
        """Takes a text over; one that it continues goes."""
        for key, other in list(self._texts.items()):
            if text.tokens[: len(other.tokens)] == other.tokens:
                del self._texts[key]
        self._texts[self._next] = text
        self._next += 1

    def drop_oldest(self) -> bool:
        """Lets the text go that was not used for longest; whether there was one."""
        if not self._texts:
            return False
        self._texts.popitem(last=False)
        return True

    def clear(self) -> None:
        """Forgets all: the weights are others."""
        self._texts.clear()

    def into(self, prompt: list[int], cache: KVCache) -> KnownPrefix | None:
        """Copies the rows of the longest beginning that is known of a prompt into a cache; None where none is worth it."""
        best, most = None, LEAST_TOKENS - 1
        for key, text in self._texts.items():
            n = _common(text.tokens, prompt[:-1])
            if n > most:
                best, most = key, n
        if best is None:
            return None
        text = self._texts[best]
        self._texts.move_to_end(best)
        cache.copy_rows(text.cache, most, 0)
        self.hits += 1
        self.reused_tokens += most
        return KnownPrefix(most, text.top)


def _common(one: list[int], other: list[int]) -> int:
    """Tokens at the beginning of both."""
    n = min(len(one), len(other))
    if one[:n] == other[:n]:
        return n
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
