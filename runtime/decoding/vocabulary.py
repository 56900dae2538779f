"""Passes over a vocabulary, compiled: the numbers of the noise, and the best tokens of a row of scores, with noise or without.

A token wins by log p~ + g, and of the two terms one is known cheaply for many tokens at once. So a row is searched by blocks of BLOCK
tokens: the largest logit of a block and the largest g in it bound every score there, and only blocks that can hold one of the best are
looked into. What is found is what a look at every token would find: equal scores go to the lower token.

The noise is a hash (`runtime/decoding/noise.py` says of what), then g = -log(-log(1 - u)) in float64, rounded to float32 at the end. Its
logarithm is written out below, so that no mathematics library has a say: rows, single entries and other machines give the same bits.
`plain_vocabulary.py` is all of it without a compiler.
"""

from __future__ import annotations

import numpy as np

from casspec.runtime.compiled import array_at, compiled, part, pointer_at
from casspec.runtime.decoding import plain_vocabulary as plain
from casspec.runtime.decoding.plain_vocabulary import GAMMA, LAST_SHIFT, LN2_HIGH, LN2_LOW, LOG_TERMS, MIX, ROOT_2

BLOCK = 64
"""Tokens whose bound is kept together."""

_GAMMA, _LOW = np.uint64(GAMMA), np.uint64(0xFFFFFFFF)
_FACTOR_1, _FACTOR_2 = np.uint64(MIX[0][1]), np.uint64(MIX[1][1])
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(MIX[0][0]), np.uint64(MIX[1][0]), np.uint64(LAST_SHIFT)
_ONE, _HALF_WORD, _HALF_BLOCK = np.uint64(1), np.uint64(32), np.uint64(BLOCK // 2)
_MANTISSA, _ONES_EXPONENT = np.uint64((1 << 52) - 1), np.uint64(1023 << 52)
_EXPONENT_SHIFT, _BIAS = np.uint64(52), np.float64(1023)
_BELOW_ROUNDING = np.float32(1 - 2.0**-22)
_NO_SCORE = np.float32(-np.inf)

_L1, _L2, _L3, _L4, _L5, _L6, _L7 = LOG_TERMS

# Noise ----------------------------------------------------------------------------------------------------------------


@part
def _mixed(word):  # type: ignore[no-untyped-def]
    """SplitMix64's finaliser."""
    word = (word ^ (word >> _SHIFT_1)) * _FACTOR_1
    word = (word ^ (word >> _SHIFT_2)) * _FACTOR_2
    return word ^ (word >> _SHIFT_3)


@part
def _logarithm(x):  # type: ignore[no-untyped-def]
    """Of a normal positive float64; exact to its last bits where it is near 1 too."""
    bits = np.float64(x).view(np.uint64)
    exponent = np.float64(bits >> _EXPONENT_SHIFT) - _BIAS
    m = np.uint64((bits & _MANTISSA) | _ONES_EXPONENT).view(np.float64)
    above = m > ROOT_2
    m = 0.5 * m if above else m
    exponent = exponent + 1.0 if above else exponent
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    remainder = z * (_L1 + z * (_L2 + z * (_L3 + z * (_L4 + z * (_L5 + z * (_L6 + z * _L7))))))
    half = 0.5 * f * f
    return exponent * LN2_HIGH - ((half - (s * (half + remainder) + exponent * LN2_LOW)) - f)


@part
def _gumbel(half):  # type: ignore[no-untyped-def]
    """g of the 32 bits of a token: -log(-log(1 - u)), u = (bits + 1/2) / 2^32. The smaller the bits, the larger g."""
    u = (np.float64(half) + 0.5) * 2.0**-32
    return np.float32(-_logarithm(-_logarithm(1.0 - u)))


@part
def _half(key, token):  # type: ignore[no-untyped-def]
    """The bits of a token under the key of a position: two tokens share a word, the even one has its low half."""
    token = np.uint64(token)
    word = _mixed(key + ((token >> _ONE) + _ONE) * _GAMMA)
    return word >> _HALF_WORD if token & _ONE else word & _LOW


@part
def _key_at(key, position):  # type: ignore[no-untyped-def]
    """The key of a position of a stream."""
    return _mixed(np.uint64(position) * _GAMMA + key)


@part(plain=plain.gumbel_at)
def gumbel_at(key, position, token):  # type: ignore[no-untyped-def]
    """g of one token at a position of the stream `key`: part of compiled functions elsewhere."""
    return _gumbel(_half(_key_at(key, position), token))


@compiled("void(uint64, int64, int64[::1], float32[::1])", plain=plain.gumbel_entries)
def gumbel_entries(key: np.uint64, position: int, tokens: np.ndarray, g: np.ndarray) -> None:
    """g [n] of `tokens` [n] at a position of the stream `key`."""
    own = _key_at(key, position)
    for i in range(len(tokens)):
        g[i] = _gumbel(_half(own, tokens[i]))


@compiled("void(uint64, int64, float32[:, ::1])", plain=plain.gumbel_rows)
def gumbel_rows(key: np.uint64, position: int, g: np.ndarray) -> None:
    """g of all tokens at the positions from `position` on [positions, vocab]."""
    vocab = g.shape[1]
    words = np.empty(vocab // 2, np.uint64)
    for row in range(g.shape[0]):
        own = _key_at(key, position + row)
        for pair in range(vocab // 2):
            words[pair] = _mixed(own + (np.uint64(pair) + _ONE) * _GAMMA)
        for pair in range(vocab // 2):
            g[row, 2 * pair] = _gumbel(words[pair] & _LOW)
            g[row, 2 * pair + 1] = _gumbel(words[pair] >> _HALF_WORD)
        if vocab % 2:
            g[row, vocab - 1] = _gumbel(_half(own, vocab - 1))


@part
def _set_ceilings(own, ceilings):  # type: ignore[no-untyped-def]
    """The largest g of each block of tokens, for the key of a position. A block past the end is bounded as if it were full."""
    for block in range(len(ceilings)):
        first = own + (np.uint64(block) * _HALF_BLOCK + _ONE) * _GAMMA
        least = _LOW
        for place in range(BLOCK // 2):
            word = _mixed(first + np.uint64(place) * _GAMMA)
            low, high = word & _LOW, word >> _HALF_WORD
            smaller = low if low < high else high
            least = smaller if smaller < least else least
        ceilings[block] = np.float32(least) * _BELOW_ROUNDING
    for block in range(len(ceilings)):
        ceilings[block] = _gumbel(ceilings[block])


# Best tokens ----------------------------------------------------------------------------------------------------------


@part
def _number(bits, wide):  # type: ignore[no-untyped-def]
    """The float32 whose bits these are, or (not `wide`) whose upper half they are, which is a bfloat16."""
    return np.int32(np.int32(bits) << (0 if wide else 16)).view(np.float32)


def _maxima_of(word: type, wide: bool):  # type: ignore[no-untyped-def]
    """For rows whose bits are `word`s: the largest number of each block. Bits are compared as integers, once those of negative numbers
    have the order of what they mean."""
    sign, rest, least = word(np.iinfo(word).bits - 1), word(np.iinfo(word).max), word(np.iinfo(word).min)

    def set_maxima(row, maxima):  # type: ignore[no-untyped-def]
        for block in range(len(row) // BLOCK):
            largest, start = least, block * BLOCK
            for place in range(BLOCK):
                bits = row[start + place]
                ordered = word(bits ^ word(word(bits >> sign) & rest))
                largest = ordered if ordered > largest else largest
            maxima[block] = _number(word(largest ^ word(word(largest >> sign) & rest)), wide)
        if len(row) % BLOCK:
            maxima[-1] = _NO_SCORE
            for token in range(len(row) // BLOCK * BLOCK, len(row)):
                number = _number(row[token], wide)
                maxima[-1] = number if not number <= maxima[-1] else maxima[-1]

    return part(set_maxima)


_set_maxima_of_halves, _set_maxima_of_words = _maxima_of(np.int16, False), _maxima_of(np.int32, True)


@part
def _set_maxima(row, maxima):  # type: ignore[no-untyped-def]
    """The largest number of each block of a row of bits."""
    if row.itemsize == 2:
        _set_maxima_of_halves(row, maxima)
    else:
        _set_maxima_of_words(row, maxima)


@part
def _look_into(block, row, alpha, noisy, own, ceiling, found, ids, scores):  # type: ignore[no-untyped-def]
    """Takes the tokens of a block that are among the best so far; returns how many are held."""
    last, wide = len(ids) - 1, row.itemsize == 4
    for token in range(block * BLOCK, min(block * BLOCK + BLOCK, len(row))):
        score, full = _number(row[token], wide) * alpha, found > last
        if full and score + ceiling < scores[last]:
            continue
        if noisy:
            score += _gumbel(_half(own, token))
        if full and (score < scores[last] or (score == scores[last] and token > ids[last])):
            continue
        place = last if full else found
        while place and (score > scores[place - 1] or (score == scores[place - 1] and token < ids[place - 1])):
            ids[place], scores[place] = ids[place - 1], scores[place - 1]
            place -= 1
        ids[place], scores[place] = token, score
        found += not full
    return found


@part
def _search(row, maxima, alpha, noisy, own, ceilings, ids, scores):  # type: ignore[no-untyped-def]
    """The len(ids) tokens with the largest alpha * number + g (without g unless `noisy`), best first, and these scores."""
    n_blocks, n_wanted, found = len(maxima), len(ids), 0
    n_first = min(n_wanted, n_blocks)
    bounds, seen, first = np.empty(n_blocks, np.float32), np.zeros(n_blocks, np.bool_), np.zeros(n_first, np.int64)
    if noisy:
        for block in range(n_blocks):
            bounds[block] = maxima[block] * alpha + ceilings[block]
    else:
        for block in range(n_blocks):
            bounds[block] = maxima[block] * alpha
    # First the blocks that promise most, then what they leave possible.
    for block in range(1, n_blocks):
        if block < n_first or bounds[block] > bounds[first[n_first - 1]]:
            place = min(block, n_first - 1)
            while place and bounds[block] > bounds[first[place - 1]]:
                first[place] = first[place - 1]
                place -= 1
            first[place] = block
    for best in first:
        seen[best] = True
        ceiling = ceilings[best] if noisy else np.float32(0)
        found = _look_into(best, row, alpha, noisy, own, ceiling, found, ids, scores)
    for block in range(n_blocks):
        if not seen[block] and not (found == n_wanted and bounds[block] < scores[n_wanted - 1]):
            ceiling = ceilings[block] if noisy else np.float32(0)
            found = _look_into(block, row, alpha, noisy, own, ceiling, found, ids, scores)


@part
def _known_ceilings(key, position, made, ceilings):  # type: ignore[no-untyped-def]
    """The key of a position and its ceilings, made unless they are there."""
    own, slot = _key_at(key, position), position % len(made)
    if made[slot] != position:
        _set_ceilings(own, ceilings[slot])
        made[slot] = position
    return own, ceilings[slot]


_LOGITS = "int64, int64, int64, boolean, int64"
_NOISE = "float32, uint64, int64[::1], float32[:, ::1]"
_TREE = "int64[::1], int64[::1], int64, int64"


@part
def _best_of(bits, vocab, rows, positions, alpha, key, made, ceilings, ids, scores):  # type: ignore[no-untyped-def]
    maxima = np.empty(-(-vocab // BLOCK), np.float32)
    for i in range(len(rows)):
        row, position = bits[rows[i]][:vocab], positions[i]
        _set_maxima(row, maxima)
        if position < 0:
            _search(row, maxima, alpha, False, key, maxima, ids[i], scores[i])
        else:
            own, known = _known_ceilings(key, position, made, ceilings)
            _search(row, maxima, alpha, True, own, known, ids[i], scores[i])


@compiled(f"void({_LOGITS}, int64[::1], int64[::1], {_NOISE}, int64[:, ::1], float32[:, ::1])", plain=plain.best_tokens)
def best_tokens(
    address: int,
    n: int,
    stride: int,
    wide: bool,
    vocab: int,
    rows: np.ndarray,
    positions: np.ndarray,
    alpha: np.float32,
    key: np.uint64,
    made: np.ndarray,
    ceilings: np.ndarray,
    ids: np.ndarray,
    scores: np.ndarray,
) -> None:
    """The best tokens of some rows by alpha * logit + g in float32, best first, the lower token of equals.

    Args:
        address, n, stride, wide: where logits [n, vocab] lie, `stride` numbers from row to row, float32 (`wide`) or bfloat16.
        rows: which of them [n]. positions: emitted position of what each draws [n]; -1 leaves g out.
        alpha: positive. key, made, ceilings: of the noise, see `runtime/decoding/noise.py`.
        ids, scores: [n, wanted], written.
    """
    if wide:
        bits = array_at(pointer_at(address), (n, stride), np.int32)
        _best_of(bits, vocab, rows, positions, alpha, key, made, ceilings, ids, scores)
    else:
        halves = array_at(pointer_at(address), (n, stride), np.int16)
        _best_of(halves, vocab, rows, positions, alpha, key, made, ceilings, ids, scores)


@part
def _walk_over(bits, vocab, tokens, parents, node, position, alpha, key, made, ceilings, path, ids, logits):  # type: ignore[no-untyped-def]
    maxima = np.empty(-(-vocab // BLOCK), np.float32)
    best, score = np.empty(1, np.int64), np.empty(1, np.float32)
    length, wanted, one = 0, ids.shape[1], np.float32(1)
    while True:
        row = bits[node][:vocab]
        _set_maxima(row, maxima)
        if wanted:
            _search(row, maxima, one, False, key, maxima, ids[length], logits[length])
            best[0] = ids[length, 0]
        if position >= 0:
            own, known = _known_ceilings(key, position, made, ceilings)
            _search(row, maxima, alpha, True, own, known, best, score)
            position += 1
        elif not wanted:
            _search(row, maxima, one, False, key, maxima, best, score)
        path[length, 0], path[length, 1] = node, best[0]
        length += 1
        child = node + 1
        while child < len(tokens) and not (parents[child] == node and tokens[child] == best[0]):
            child += 1
        if child == len(tokens) or length == len(path):
            return length
        node = child


@compiled(f"int64({_LOGITS}, {_TREE}, {_NOISE}, int64[:, ::1], int64[:, ::1], float32[:, ::1])", plain=plain.walk)
def walk(
    address: int,
    n: int,
    stride: int,
    wide: bool,
    vocab: int,
    tokens: np.ndarray,
    parents: np.ndarray,
    node: int,
    position: int,
    alpha: np.float32,
    key: np.uint64,
    made: np.ndarray,
    ceilings: np.ndarray,
    path: np.ndarray,
    ids: np.ndarray,
    logits: np.ndarray,
) -> int:
    """Down a tree along the best tokens of its rows, as above, from `node` on for as long as a child is the best token.

    Args:
        tokens, parents: of the nodes [n], each with its row of logits; parents come first.
        position: emitted position of what follows `node`; -1 is greedy.
        path: [most, 2], written: (node, best token). ids, logits: [most, wanted], written: the largest logits of these nodes, best first.

    Returns:
        How many nodes are written.
    """
    if wide:
        bits = array_at(pointer_at(address), (n, stride), np.int32)
        return _walk_over(bits, vocab, tokens, parents, node, position, alpha, key, made, ceilings, path, ids, logits)
    halves = array_at(pointer_at(address), (n, stride), np.int16)
    return _walk_over(halves, vocab, tokens, parents, node, position, alpha, key, made, ceilings, path, ids, logits)
