"""Chains of tokens that followed earlier places which end as a text does, with evidence for each token.

The longest suffix of the text that occurred before decides: of its last occurrences (at most `MOST_PLACES`) each token's majority
goes on, the most recent one where they are even. Two sources: the text itself, which may also go on in the chain (a loop shorter than
the chain repeats), and what other texts left in a memory of bounded size. Prompt lookup is the case of one occurrence, the frequencies
are those of SuffixDecoding (arXiv 2411.04975), counted over recent occurrences.

Places are found by hashes of the last 4, 2 and 1 tokens that lead to the most recent place, and from each to the one before, as
compressors do. So a token costs 40 bytes and about 30 nanoseconds, and the memory forgets its older half at once when it is full.

A token's evidence is its cell: where it comes from, how long the match is with the chain up to it, and how unanimous its places are.
"""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np

from casspec.runtime.compiled import compiled, part

TABLE = "engine"
"""Name of the acceptance cells."""
GRAM_LENGTHS = np.array([4, 2, 1], np.int64)
"""Suffixes that places are found by, the longest first; where one finds a place, shorter ones are not asked."""
N_GRAMS = 3
LONGEST_MATCH = 32
MOST_PLACES = 16
BOUNDARY = -1
"""Stands between texts of a memory; no token of a chain and part of no match."""

LENGTH_EDGES = np.array([1, 2, 3, 4, 6, 9, 14, 24], np.int64)
"""Lower edges of the buckets of match lengths."""
N_LENGTH = 8
ALONE, UNANIMOUS, MOST, FEWER = 0, 1, 2, 3
"""One place; several that agree; more than half of several; at most half."""
N_SHARE = 4
OWN, MEMORY = 0, 1
N_CELLS = 2 * N_LENGTH * N_SHARE
"""A cell is (source * N_LENGTH + length bucket) * N_SHARE + share."""

_FIRST_ROOM = 512
_TEXT = "Tuple((int64[::1], int32[::1], int32[:, ::1], int32[:, ::1]))"
Text = tuple[Any, ...]


@part
def _place(text, end, n, mask):  # type: ignore[no-untyped-def]
    """Where the hash of the n tokens before `end` leads."""
    code = np.int64(n)
    for i in range(n):
        code = ((code ^ np.int64(text[end - 1 - i])) * 1000003 + 12345) & 0x7FFFFFFF
        code ^= code >> 15
    return code & mask


@part
def _append(state, tokens):  # type: ignore[no-untyped-def]
    sizes, text, heads, earlier = state
    first = sizes[0]
    last = first + len(tokens)
    for i in range(len(tokens)):
        text[first + i] = tokens[i]
    mask = heads.shape[1] - 1
    for end in range(max(first, 1), last):  # a place counts once a token follows it
        for gram in range(N_GRAMS):
            n = GRAM_LENGTHS[gram]
            if n > end:
                continue
            place = _place(text, end, n, mask)
            earlier[gram, end] = heads[gram, place]
            heads[gram, place] = end
    sizes[0] = last


@compiled(f"void({_TEXT}, int32[::1])")
def append(state: Text, tokens: np.ndarray) -> None:
    """Appends tokens; there must be room."""
    _append(state, tokens)


@part
def _places(state, back, n_back, ends):  # type: ignore[no-untyped-def]
    """Writes the last places that the longest suffix of `back[:n_back]` occurred at; returns (how many, its length)."""
    _, text, heads, earlier = state
    mask, n_ends, longest = heads.shape[1] - 1, 0, 0
    for gram in range(N_GRAMS):
        n = GRAM_LENGTHS[gram]
        if n > n_back or longest:
            continue
        end = np.int64(heads[gram, _place(back, n_back, n, mask)])
        looked = 0
        while end > 0 and looked < MOST_PLACES:
            most, length = min(min(end, n_back), LONGEST_MATCH), 0
            while length < most and text[end - 1 - length] == back[n_back - 1 - length]:
                length += 1
            if length >= n and length > longest and text[end] >= 0:
                longest, n_ends = length, 0
            if length >= n and length == longest and text[end] >= 0:
                ends[n_ends] = end
                n_ends += 1
            end = np.int64(earlier[gram, end])
            looked += 1
    return n_ends, longest


@part
def _cell(source, length, n_agree, n_places):  # type: ignore[no-untyped-def]
    bucket = -1
    for edge in LENGTH_EDGES:
        bucket += edge <= length
    if n_places == 1:
        share = ALONE
    elif n_agree == n_places:
        share = UNANIMOUS
    else:
        share = MOST if 2 * n_agree > n_places else FEWER
    return (source * N_LENGTH + bucket) * N_SHARE + share


@part
def _chain(state, source, back, n_back, tokens, cells):  # type: ignore[no-untyped-def]
    """Writes tokens and cells of one source's chain; returns its length."""
    size, text = state[0][0], state[1]
    ends, followed = np.empty(MOST_PLACES, np.int64), np.empty(MOST_PLACES, np.int64)
    alive, length = _places(state, back, n_back, ends)
    for depth in range(len(tokens)):
        kept = 0
        for i in range(alive):
            at = ends[i] + depth
            token = np.int64(-1)
            if at < size:
                token = np.int64(text[at])
            elif source == OWN:
                token = np.int64(tokens[at - size])  # the chain goes on in itself
            if token >= 0:
                ends[kept], followed[kept] = ends[i], token
                kept += 1
        alive = kept
        best, n_best = np.int64(-1), 0
        for i in range(alive):
            n_agree = 0
            for j in range(alive):
                n_agree += followed[j] == followed[i]
            if n_agree > n_best:
                best, n_best = followed[i], n_agree
        if n_best == 0:
            return depth
        tokens[depth], cells[depth] = best, _cell(source, length + depth, n_best, alive)
        kept = 0
        for i in range(alive):
            if followed[i] == best:
                ends[kept] = ends[i]
                kept += 1
        alive = kept
    return len(tokens)


@part
def _masses(cells, n, log_odds, lift, masses):  # type: ignore[no-untyped-def]
    """Writes the probability that each token and all before it are right; returns their sum."""
    mass, total = 1.0, 0.0
    for i in range(n):
        mass /= 1.0 + exp(-(log_odds[cells[i]] + lift))
        masses[i] = mass
        total += mass
    return total


@compiled(f"int64({_TEXT}, {_TEXT}, float64[::1], float64, int32[::1], int32[::1], float64[::1])")
def draft(
    own: Text,
    memory: Text,
    log_odds: np.ndarray,
    lift: float,
    tokens: np.ndarray,
    cells: np.ndarray,
    masses: np.ndarray,
) -> int:
    """Writes the chain after the end of `own`, of the source that promises more tokens; returns its length.

    Args:
        log_odds: [N_CELLS] of acceptance, `lift` is added to them for this text.
        tokens, cells, masses: [n]: written: tokens, their cells, and the probability that each and all before it are right.
    """
    size, most = own[0][0], min(own[0][0], LONGEST_MATCH)
    back = own[1][size - most : size]
    n = _chain(own, OWN, back, most, tokens, cells)
    promised = _masses(cells, n, log_odds, lift, masses)
    if memory[0][0] == 0:
        return n
    other_tokens, other_cells = np.empty_like(tokens), np.empty_like(cells)
    other_masses = np.empty_like(masses)
    other = _chain(memory, MEMORY, back, most, other_tokens, other_cells)
    if _masses(other_cells, other, log_odds, lift, other_masses) > promised:
        tokens[:], cells[:], masses[:] = other_tokens, other_cells, other_masses
        n = other
    return n


class IndexedText:
    """A text that grows, and the places its suffixes occurred at.

    Attributes:
        state: for compiled functions; `extend` may make it another one.
    """

    def __init__(self, room: int = _FIRST_ROOM) -> None:
        self._make(room)

    def __len__(self) -> int:
        return int(self.state[0][0])

    @property
    def tokens(self) -> np.ndarray:
        """[len] int32, a view."""
        tokens: np.ndarray = self.state[1][: len(self)]
        return tokens

    def extend(self, tokens: np.ndarray) -> None:
        """Appends tokens [n] int32; doubles its room where they do not fit."""
        if len(self) + len(tokens) > len(self.state[1]):
            known = self.tokens
            self._make(2 * max(len(self) + len(tokens), _FIRST_ROOM))
            append(self.state, known)
        append(self.state, np.ascontiguousarray(tokens, np.int32))

    def _make(self, room: int) -> None:
        places = 1 << max(room, 2).bit_length()
        heads, earlier = np.zeros((N_GRAMS, places), np.int32), np.zeros((N_GRAMS, room), np.int32)
        self.state: Text = np.zeros(1, np.int64), np.empty(room, np.int32), heads, earlier


class TextMemory:
    """What texts left, the oldest forgotten first.

    Args:
        max_tokens: kept at most, boundaries between texts included; 0 keeps nothing. A token costs 40 bytes.
    """

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._index = IndexedText(max(max_tokens, 1))

    @property
    def state(self) -> Text:
        return self._index.state

    def __len__(self) -> int:
        return len(self._index)

    def add(self, tokens: np.ndarray) -> None:
        """Keeps a text [n] int32, of one longer than half of the room its end. Where it does not fit, the older half goes first."""
        kept = tokens[-(self.max_tokens // 2 - 1) :] if self.max_tokens >= 4 else tokens[:0]
        if not len(kept):
            return
        if len(self) + len(kept) + 1 > self.max_tokens:
            newer = self._index.tokens[-(self.max_tokens // 2) :].copy()
            self._index = IndexedText(self.max_tokens)
            self._index.extend(newer)
        self._index.extend(np.append(kept, np.int32(BOUNDARY)))
