"""What retrieval does, compiled: a text's n-grams, the means of its recycled rows, and what both offer after a node.

All of it lies in arrays. The means are `MEANS`, the state of `mean_recycling.py`, in this order:

    sizes           [2]: tokens with a mean, entries of means
    mean_of         by token, its place among the means; -1 for none, as past the end
    means           [tokens, 4]: first and last entry, how many of its best are kept (0: they changed), and the token
    entries, weights  [entries, 2]: successor and next entry (-1 is the end), and its probability summed
    best_ids, best_logits  [tokens, KEPT]: the best of a mean, in logarithms
    matrix_ids, matrix_logits  [vocab, TOP_SUCCESSORS]: of the profile; no rows without one
    any_ids, any_logits    what follows any token

and what is known of a text `RETRIEVAL`, the state of `retrieval.py`:

    sizes           [2]: tokens of the text, rows known of it
    settings        [3]: longest n-gram in the index, candidates offered after a node, whether leaves are looked up
    text            tokens
    grams           [places, 2]: the last (end, n) of each n-gram, at a place that its hash leads to; end 0 is free
    row_ids, row_logits  [text, TOP_SUCCESSORS]: the target's best successors at each place, -1 past the last
    means           `MEANS`
    estimate        by acceptance cell, see `runtime/decoding/acceptance.py`
"""

from __future__ import annotations

from math import exp, log
from typing import Any

import numpy as np

from casspec.runtime.compiled import compiled, part
from casspec.runtime.decoding import acceptance, plain_vocabulary, vocabulary
from casspec.runtime.decoding.acceptance import (
    GAP_EDGES,
    LITERAL_AGREES,
    LITERAL_DIFFERS,
    LITERAL_NONE,
    LITERAL_STATES,
    MATCH_EDGES,
    N_GAP,
    UNSCORED,
)
from casspec.runtime.decoding.vocabulary import gumbel_at

MATRIX_ROWS = 0.5
"""Rows of the text that the row of the matrix counts for."""

KEPT = 12
"""Successors in a mean of several rows; more are hardly ever right."""

LEAST = 1e-30
"""What a probability too small for a float counts for."""

LONGEST_MATCH = 16
"""Matches are measured back to this many tokens."""

SPECIFIC_MATCH = 2
"""From this length on the row of the matched place is taken for what follows."""

PARTS = acceptance, plain_vocabulary, vocabulary
"""Modules that this one's functions are made of."""

_GRAMS = "int64[::1], int64[:, ::1]"
_ROWS = "int64[:, ::1], float32[:, ::1]"
MEANS = (
    "Tuple((int64[::1], int64[::1], int64[:, ::1], int64[:, ::1], float64[::1], int64[:, ::1], float64[:, ::1], "
    "int32[:, ::1], float32[:, ::1], int64[::1], float64[::1]))"
)
RETRIEVAL = f"Tuple((int64[::1], int64[::1], {_GRAMS}, {_ROWS}, {MEANS}, float64[::1]))"
State = tuple[Any, ...]

# The text's n-grams ---------------------------------------------------------------------------------------------------


@part
def _hashed(code, token):  # type: ignore[no-untyped-def]
    """Of an n-gram that begins with `token`, from that of the tokens behind it."""
    code = ((code ^ token) * 1000003 + 12345) & 0x7FFFFFFF
    return code ^ (code >> 15)


@part
def _place(text, grams, back, n, code):  # type: ignore[no-untyped-def]
    """Where the n-gram of the tokens `back`, last first, stands in the index; a free place where it does not."""
    place = code & (len(grams) - 1)
    while grams[place, 0] != 0:
        if grams[place, 1] == n:
            end, same = grams[place, 0], 0
            while same < n and text[end - 1 - same] == back[same]:
                same += 1
            if same == n:
                break
        place = (place + 1) & (len(grams) - 1)
    return place


@part
def _index(text, grams, first, last, max_ngram):  # type: ignore[no-untyped-def]
    back = np.empty(max_ngram, np.int64)
    for end in range(max(first, 1), last):
        code = 0
        for n in range(1, min(max_ngram, end) + 1):
            back[n - 1] = text[end - n]
            code = _hashed(code, back[n - 1])
            place = _place(text, grams, back, n, code)
            grams[place, 0], grams[place, 1] = end, n


@compiled(f"void({_GRAMS}, int64, int64, int64)")
def index_text(text: np.ndarray, grams: np.ndarray, first: int, last: int, max_ngram: int) -> None:
    """Indexes what ends before each of the places from `first` to `last` (excluded): it is once a token follows."""
    _index(text, grams, first, last, max_ngram)


@part
def longest_match(state, back, n_back):  # type: ignore[no-untyped-def]
    """(position, length) of the longest indexed n-gram that ends a path; `back` has its last tokens, the very last first."""
    text, grams = state[2], state[3]
    position, length, code = 0, 0, 0
    for n in range(1, n_back + 1):
        code = _hashed(code, back[n - 1])
        place = _place(text, grams, back, n, code)
        if grams[place, 0] == 0:
            break
        position, length = grams[place, 0], n
    return position, length


@part
def root_match(state):  # type: ignore[no-untyped-def]
    """The match of the text's own end, measured in full."""
    n_text, max_ngram, text = state[0][0], state[1][0], state[2]
    n_back = min(max_ngram, n_text)
    back = np.empty(n_back, np.int64)
    for i in range(n_back):
        back[i] = text[n_text - 1 - i]
    position, length = longest_match(state, back, n_back)
    if length == max_ngram:
        while length < LONGEST_MATCH and length < position and text[position - 1 - length] == text[n_text - 1 - length]:
            length += 1
    return position, length


# Means of recycled rows -----------------------------------------------------------------------------------------------


@part
def _add(state, mean, ids, logits, total):  # type: ignore[no-untyped-def]
    """Adds the probabilities among the listed successors, times `total`, to a mean."""
    sizes, mean_row, entries, weights = state[0], state[2][mean], state[3], state[4]
    n, odds = 0, 0.0
    while n < len(ids) and ids[n] >= 0:
        odds += exp(np.float64(logits[n]) - np.float64(logits[0]))
        n += 1
    share = total / odds
    for i in range(n):
        entry = mean_row[0]
        while entry >= 0 and entries[entry, 0] != ids[i]:
            entry = entries[entry, 1]
        if entry < 0:
            entry = sizes[1]
            sizes[1] += 1
            entries[entry, 0], entries[entry, 1], weights[entry] = ids[i], -1, 0.0
            if mean_row[0] < 0:
                mean_row[0] = entry
            else:
                entries[mean_row[1], 1] = entry
            mean_row[1] = entry
        weights[entry] += exp(np.float64(logits[i]) - np.float64(logits[0])) * share


@part
def _is_stored(state, token):  # type: ignore[no-untyped-def]
    return len(state[7]) > 0 and state[7][token, 0] >= 0


@part
def _refresh(state, token, ids, logits):  # type: ignore[no-untyped-def]
    sizes, mean_of, means = state[0], state[1], state[2]
    mean = mean_of[token]
    if mean < 0:
        mean = mean_of[token] = sizes[0]
        means[mean, 0], means[mean, 3] = -1, token
        sizes[0] += 1
        if _is_stored(state, token):
            _add(state, mean, state[7][token], state[8][token], MATRIX_ROWS)
    _add(state, mean, ids, logits, 1.0)
    means[mean, 2] = 0


@compiled(f"void({MEANS}, int64[::1], {_ROWS})")
def refresh(state: State, tokens: np.ndarray, ids: np.ndarray, logits: np.ndarray) -> None:
    """Takes in the target's best successors after each of `tokens`: [tokens, any width], -1 past the last."""
    for i in range(len(tokens)):
        _refresh(state, tokens[i], ids[i], logits[i])


@compiled(f"void({RETRIEVAL}, int64[::1], {_ROWS})")
def extend(state: State, tokens: np.ndarray, ids: np.ndarray, logits: np.ndarray) -> None:
    """Appends tokens to the text, and the target's best successors [any, TOP_SUCCESSORS at most] at the first places that have none."""
    sizes, text, grams, row_ids, row_logits = state[0], state[2], state[3], state[4], state[5]
    first = sizes[0]
    for i in range(len(tokens)):
        text[first + i] = tokens[i]
    sizes[0] += len(tokens)
    _index(text, grams, first, sizes[0], state[1][0])
    width = ids.shape[1]
    for i in range(len(ids)):
        place = sizes[1]
        for rank in range(row_ids.shape[1]):
            row_ids[place, rank] = ids[i, rank] if rank < width else -1
            row_logits[place, rank] = logits[i, rank] if rank < width else 0.0
        sizes[1] += 1
        _refresh(state[6], text[place], ids[i], logits[i])


@part
def _keep_best(state, mean):  # type: ignore[no-untyped-def]
    """Finds the best of a mean anew; equals stay in the order in which they came."""
    means, entries, weights, ids, logits = state[2], state[3], state[4], state[5][mean], state[6][mean]
    kept, entry = 0, means[mean, 0]
    while entry >= 0:
        weight = weights[entry]
        if kept < KEPT or weight > logits[KEPT - 1]:
            place = min(kept, KEPT - 1)
            while place and weight > logits[place - 1]:
                ids[place], logits[place] = ids[place - 1], logits[place - 1]
                place -= 1
            ids[place], logits[place] = entries[entry, 0], weight
            kept = min(kept + 1, KEPT)
        entry = entries[entry, 1]
    for i in range(kept):
        logits[i] = log(logits[i]) if logits[i] != 0.0 else log(LEAST)
    means[mean, 2] = kept


@part
def _copied(ids, logits, row_ids, row_logits):  # type: ignore[no-untyped-def]
    n = 0
    while n < len(ids) and ids[n] >= 0:
        row_ids[n], row_logits[n] = ids[n], logits[n]
        n += 1
    return n


@part
def recycled_row(state, token, row_ids, row_logits):  # type: ignore[no-untyped-def]
    """Writes the best successors of a token; returns how many, 0 where nothing is known of any."""
    mean = state[1][token] if token < len(state[1]) else -1
    if mean >= 0:
        if state[2][mean, 2] == 0:
            _keep_best(state, mean)
        n = state[2][mean, 2]
        return _copied(state[5][mean, :n], state[6][mean, :n], row_ids, row_logits)
    if _is_stored(state, token):
        return _copied(state[7][token], state[8][token], row_ids, row_logits)
    return _copied(state[9], state[10], row_ids, row_logits)


@compiled(f"int64({MEANS}, int64, int64[::1], float64[::1])")
def row_of(state: State, token: int, ids: np.ndarray, logits: np.ndarray) -> int:
    """Writes the best successors of a token [KEPT]; returns how many."""
    return int(recycled_row(state, token, ids, logits))


# Offers ---------------------------------------------------------------------------------------------------------------


@part
def _bucket(edges, value):  # type: ignore[no-untyped-def]
    """How many of the edges are at most `value`."""
    n = 0
    for edge in edges:
        n += edge <= value
    return n


@part
def offer(state, token, position, length, key, emitted, inverse_temperature, offered):  # type: ignore[no-untyped-def]
    """Writes (token, cell) of the candidates after a node, best first; returns how many.

    Args:
        token: the node's. position, length: its match. key, emitted: stream and position of the noise; -1 when greedy.
    """
    sizes, settings, text = state[0], state[1], state[2]
    literal, base = np.int64(-1), 0
    if length:
        literal, base = text[position], _bucket(MATCH_EDGES, length) * LITERAL_STATES
    ids, scores = np.empty(KEPT, np.int64), np.empty(KEPT, np.float64)
    # The last row of the text is the root's, unknown until it is verified.
    if length >= SPECIFIC_MATCH and position <= sizes[1]:
        n = _copied(state[4][position - 1], state[5][position - 1], ids, scores)
    else:
        n = recycled_row(state[6], token, ids, scores)
    n_offered, listed = 0, False
    if emitted >= 0:
        for i in range(n):
            candidate = ids[i]
            score = scores[i] * inverse_temperature + np.float64(gumbel_at(key, emitted, candidate))
            place = i
            while place and (score > scores[place - 1] or (score == scores[place - 1] and candidate > ids[place - 1])):
                ids[place], scores[place] = ids[place - 1], scores[place - 1]
                place -= 1
            ids[place], scores[place] = candidate, score
    missed = LITERAL_NONE if literal < 0 else LITERAL_DIFFERS
    for i in range(min(n, max(settings[1], 1))):
        second = scores[1] if n > 1 else scores[0] - GAP_EDGES[-1]
        gap = scores[i] - scores[0] if i else scores[0] - second
        agrees = ids[i] == literal
        listed |= agrees
        offered[n_offered, 0] = ids[i]
        offered[n_offered, 1] = (base + (LITERAL_AGREES if agrees else missed)) * N_GAP + _bucket(GAP_EDGES, gap)
        n_offered += 1
    if literal >= 0 and not listed:
        offered[n_offered, 0], offered[n_offered, 1] = literal, (base + LITERAL_AGREES) * N_GAP + UNSCORED
        n_offered += 1
    return n_offered


# One by one -----------------------------------------------------------------------------------------------------------


@compiled(f"UniTuple(int64, 2)({RETRIEVAL})", parts_of=PARTS)
def match_of_root(state: State) -> tuple[int, int]:
    """(position, length) of the match of the text's own end."""
    return root_match(state)


@compiled(f"UniTuple(int64, 2)({RETRIEVAL}, int64[::1])", parts_of=PARTS)
def match_of(state: State, back: np.ndarray) -> tuple[int, int]:
    """(position, length) of the longest indexed n-gram that ends a path; `back` has its last tokens, the very last first."""
    return longest_match(state, back, len(back))


@compiled(
    f"int64({RETRIEVAL}, int64, int64, int64, uint64, int64, float64, int64[:, ::1])",
    parts_of=PARTS,
)
def offer_after(
    state: State,
    token: int,
    position: int,
    length: int,
    key: np.uint64,
    emitted: int,
    inverse_temperature: float,
    offered: np.ndarray,
) -> int:
    """Writes (token, cell) of the candidates after a node; returns how many. See `offer`."""
    return offer(state, token, position, length, key, emitted, inverse_temperature, offered)
