"""Suffixes of a text, where they occurred before and how often each token followed (SuffixDecoding, arXiv 2411.04975).

The published structure is a suffix tree cut off at 64 tokens. Here it is a suffix automaton (Blumer et al. 1985), which holds the
same counts in at most two states a token: all strings that always end at the same places share a state, and so share their count and
their continuations. A state's link leads to the longest of its suffixes that occurs elsewhere too.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

BOUNDARY = -1
"""Stands between texts; no candidate and part of no match."""


class SuffixIndex:
    """All substrings of a growing text.

    Args:
        max_depth: counts are exact for strings up to this long; longest match (published: 64).
    """

    def __init__(self, max_depth: int = 64) -> None:
        self.max_depth = max_depth
        self.begin(())

    def begin(self, tokens: Iterable[int]) -> None:
        """Forgets everything and indexes `tokens`."""
        # Per state: length of its longest string, its link, the states its strings continue to, how often they occur.
        self._length = [0]
        self._link = [-1]
        self._next: list[dict[int, int]] = [{}]
        self._count = [0]
        self._whole = 0  # the state of the whole text
        self._recent = 0  # the state of its last `max_depth` tokens
        self.extend(tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Appends tokens; a few microseconds each."""
        link, length, count, following = self._link, self._length, self._count, self._next
        for token in tokens:
            self._append(token)
            # Strings longer than `max_depth` keep the count they were made with, or a repetitive text would cost its square.
            state = following[self._recent][token]
            while length[link[state]] >= self.max_depth:
                state = link[state]
            self._recent = state
            if state == self._whole:
                state = link[state]
            while state > 0:
                count[state] += 1
                state = link[state]

    def _append(self, token: int) -> None:
        link, length, following = self._link, self._length, self._next
        new, state = self._add(length[self._whole] + 1, 0, {}, 1), self._whole
        while state >= 0 and token not in following[state]:
            following[state][token] = new
            state = link[state]
        if state >= 0:
            other = following[state][token]
            if length[other] == length[state] + 1:
                link[new] = other
            else:
                # Only the shorter strings of that state end here too: they get a state of their own.
                shorter = self._add(length[state] + 1, link[other], dict(following[other]), self._count[other])
                link[new] = link[other] = shorter
                while state >= 0 and following[state].get(token) == other:
                    following[state][token] = shorter
                    state = link[state]
        self._whole = new

    def _add(self, length: int, link: int, following: dict[int, int], count: int) -> int:
        self._length.append(length)
        self._link.append(link)
        self._next.append(following)
        self._count.append(count)
        return len(self._length) - 1

    def matches(self, suffix: Sequence[int]) -> list[tuple[int, int]]:
        """(state, match length) of the suffixes of `suffix` that were continued somewhere, longest first.

        One entry for all lengths with the same continuations, with the longest of them. The end of the text does not match itself.
        """
        link, length, following = self._link, self._length, self._next
        state = matched = 0
        for token in suffix[-self.max_depth :]:
            while state and token not in following[state]:
                state = link[state]
                matched = length[state]
            if token in following[state]:
                state = following[state][token]
                matched += 1
        found = []
        while state > 0:
            if len(following[state]) > (BOUNDARY in following[state]):
                found.append((state, matched))
            state = link[state]
            matched = length[state]
        return found

    def children(self, state: int) -> list[tuple[int, int, int]]:
        """(token, state, count) of what followed the strings of a state, and how often."""
        count = self._count
        return [(token, other, count[other]) for token, other in self._next[state].items() if token != BOUNDARY]

    def expand(
        self, state: int, n_nodes: int, max_depth: int, min_probability: float = 0.0
    ) -> tuple[float, list[tuple[int, int, float]]]:
        """The tree of the likeliest continuations of a state's strings (section 4.2 of the paper).

        C(N) = count / sum of the siblings' counts, D(N) = D(parent) C(N); the nodes with the largest D are taken one by one.

        Returns:
            (sum of D, [(parent, token, D)]): parent 0 is the match, parent i the i-th node listed.
        """
        nodes: list[tuple[int, int, float]] = []
        heap: list[tuple[float, int, int, int, int]] = []
        parent, probability, depth, total = 0, 1.0, 0, 0.0
        while True:
            if depth < max_depth:
                children = self.children(state)
                share = probability / (sum(count for _, _, count in children) or 1)
                for token, other, count in children:
                    if share * count >= min_probability:
                        heapq.heappush(heap, (-share * count, parent, token, other, depth + 1))
            if not heap or len(nodes) >= n_nodes:
                return total, nodes
            negative, parent, token, state, depth = heapq.heappop(heap)
            probability = -negative
            total += probability
            nodes.append((parent, token, probability))
            parent = len(nodes)


class EarlierOutputs:
    """An index over finished outputs, the oldest forgotten first.

    Args:
        max_tokens: memory cap. A token costs some hundred bytes.
    """

    def __init__(self, max_depth: int, max_tokens: int) -> None:
        self.index = SuffixIndex(max_depth)
        self._max_tokens = max_tokens
        self._outputs: deque[list[int]] = deque()
        self._n_tokens = 0

    def add(self, output: list[int]) -> None:
        """Indexes a finished output. Over the cap, the index is made anew from the most recent half."""
        self._outputs.append(output)
        self._n_tokens += len(output)
        if self._n_tokens <= self._max_tokens:
            self.index.extend([*output, BOUNDARY])
            return
        while self._n_tokens > self._max_tokens // 2:
            self._n_tokens -= len(self._outputs.popleft())
        self.index.begin(token for kept in self._outputs for token in [*kept, BOUNDARY])

    def clear(self) -> None:
        self._outputs.clear()
        self._n_tokens = 0
        self.index.begin(())
