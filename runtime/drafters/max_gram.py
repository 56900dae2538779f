"""Max-gram: what followed the first occurrence of the longest suffix of the text (CS-Drafting, arXiv 2312.11462, section 3.3).

The paper matches greedily, the whole text against itself, and falls back on a bigram model counted on Wikipedia. Counting followers
in the text instead would add nothing, for a token that occurred before is a match of length one already; so the fallback here is
what calibration recorded: the target's best successor of the token.

The text lives in a suffix automaton (Blumer et al. 1985), which finds the longest match in amortised constant time a token.
"""

from __future__ import annotations

from collections.abc import Sequence

from casspec.runtime.drafters.token_recycling import RecyclingMatrix

_ROOT = 0


class MaxGram:
    """A suffix automaton of the text so far. A state stands for all suffixes that end at the same places.

    Args:
        matrix: the profile's recycling matrix, for tokens that never occurred before; None ends a proposal there.
    """

    name = "max-gram"

    def __init__(self, matrix: RecyclingMatrix | None = None) -> None:
        self._matrix = matrix
        self.begin([])

    def begin(self, tokens: Sequence[int]) -> None:
        """Forgets everything and indexes a prompt."""
        self._text: list[int] = []
        self._next: list[dict[int, int]] = [{}]
        self._link = [-1]
        self._length = [0]
        self._first_end = [-1]
        self._last = _ROOT
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Appends emitted tokens."""
        for token in tokens:
            self._append(token)

    def propose(self, path: Sequence[int], n_tokens: int) -> list[int]:
        """Up to `n_tokens` tokens after the text and then `path`, matched again wherever the text they are copied from ends."""
        state, token = self._last, self._text[-1]
        for token in path:
            state = self._step(state, token)
        proposed: list[int] = []
        while len(proposed) < n_tokens:
            state = self._followed(state)
            if state == _ROOT:
                copied = self._usual_successor(token)
            else:
                start = self._first_end[state] + 1
                copied = self._text[start : start + n_tokens - len(proposed)]
            if not copied:
                break
            for token in copied:
                state = self._step(state, token)
            proposed += copied
        return proposed

    def _followed(self, state: int) -> int:
        """The longest suffix of `state` that some token follows in the text; the root when there is none."""
        end = len(self._text) - 1
        while state != _ROOT and self._first_end[state] == end:
            state = self._link[state]
        return state

    def _usual_successor(self, token: int) -> list[int]:
        successor = -1 if self._matrix is None else int(self._matrix.token_ids[token, 0])
        return [successor] if successor >= 0 else []

    def _step(self, state: int, token: int) -> int:
        """The longest suffix that occurs in the text once `token` is appended to `state`."""
        while state >= 0:
            found = self._next[state].get(token)
            if found is not None:
                return found
            state = self._link[state]
        return _ROOT

    def _append(self, token: int) -> None:
        following, link = self._next, self._link
        state = self._new_state(following={}, length=self._length[self._last] + 1, first_end=len(self._text))
        self._text.append(token)
        walker, self._last = self._last, state
        while walker >= 0 and token not in following[walker]:
            following[walker][token] = state
            walker = link[walker]
        if walker < 0:
            return
        known = following[walker][token]
        if self._length[known] == self._length[walker] + 1:
            link[state] = known
            return
        # The shorter suffixes of `known` now end here too, the longer ones do not: they part.
        shorter = self._new_state(dict(following[known]), self._length[walker] + 1, self._first_end[known])
        link[shorter] = link[known]
        link[known] = link[state] = shorter
        while walker >= 0 and following[walker].get(token) == known:
            following[walker][token] = shorter
            walker = link[walker]

    def _new_state(self, following: dict[int, int], length: int, first_end: int) -> int:
        self._next.append(following)
        self._link.append(_ROOT)
        self._length.append(length)
        self._first_end.append(first_end)
        return len(self._link) - 1
