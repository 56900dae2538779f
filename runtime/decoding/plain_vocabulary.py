"""What `vocabulary.py` finds, by whole rows of numpy: for machines without a compiler, and what its tests compare with.

The same noise bit by bit: the logarithm is written out in the same operations, and numpy, like the compiler, fuses none of them.
"""

from __future__ import annotations

import ctypes

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
LAST_SHIFT = 31
"""Of SplitMix64: what its counter grows by, and the shifts and factors of its finaliser."""
WORD = (1 << 64) - 1

# Of fdlibm's logarithm (Sun Microsystems 1993): log(1 + f) = f - (f^2 / 2 - s (f^2 / 2 + R(s^2))), s = f / (2 + f).
LN2_HIGH, LN2_LOW, ROOT_2 = 6.93147180369123816490e-01, 1.90821492927058770002e-10, 1.4142135623730951
LOG_TERMS = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
    1.818357216161805012e-01,
    1.531383769920937332e-01,
    1.479819860511658591e-01,
)
"""Coefficients of R, lowest first."""


def mix(value: int) -> int:
    """SplitMix64's finaliser on one unsigned 64-bit word."""
    for shift, factor in MIX:
        value = ((value ^ value >> shift) * factor) & WORD
    return value ^ value >> LAST_SHIFT


def gumbel_entries(key: np.uint64, position: int, tokens: np.ndarray, g: np.ndarray) -> None:
    """g [n] of `tokens` [n] at a position of the stream `key`."""
    words = np.full(len(tokens), mix((position * GAMMA + int(key)) & WORD), np.uint64)
    words += (tokens.astype(np.uint64) // np.uint64(2) + np.uint64(1)) * np.uint64(GAMMA)
    for shift, factor in MIX:
        words = (words ^ words >> np.uint64(shift)) * np.uint64(factor)
    words ^= words >> np.uint64(LAST_SHIFT)
    halves = np.where(tokens % 2 == 1, words >> np.uint64(32), words & np.uint64(0xFFFFFFFF))
    g[:] = -_logarithm(-_logarithm(1.0 - (halves.astype(np.float64) + 0.5) * 2.0**-32))


def gumbel_at(key: np.uint64, position: int, token: int) -> np.float32:
    """g of one token at a position of the stream `key`."""
    g = np.empty(1, np.float32)
    gumbel_entries(key, int(position), np.array([token], np.int64), g)
    return np.float32(g[0])


def gumbel_rows(key: np.uint64, position: int, g: np.ndarray) -> None:
    """g of all tokens at the positions from `position` on [positions, vocab]."""
    tokens = np.arange(g.shape[1])
    for row, numbers in enumerate(g):
        gumbel_entries(key, position + row, tokens, numbers)


def bits_at(address: int, n: int, stride: int, wide: bool) -> np.ndarray:
    """The integers of the bits of logits [n, stride] that lie at `address`: int32 of float32 (`wide`), int16 of bfloat16."""
    word = ctypes.c_int32 if wide else ctypes.c_int16
    return np.ctypeslib.as_array((word * (n * stride)).from_address(address)).reshape(n, stride)


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
    """See `vocabulary.py`; `made` and `ceilings` are left alone."""
    bits = bits_at(address, n, stride, wide)
    for i, (row, position) in enumerate(zip(rows.tolist(), positions.tolist(), strict=True)):
        numbers = _numbers(bits[row, :vocab]) * alpha
        if position >= 0:
            g = np.empty((1, len(numbers)), np.float32)
            gumbel_rows(key, position, g)
            numbers = numbers + g[0]
        _take_best(numbers, ids[i], scores[i])


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
    """See `vocabulary.py`; `made` and `ceilings` are left alone."""
    logits_at = address, n, stride, wide
    bits = bits_at(*logits_at)
    best, score = np.empty((1, 1), np.int64), np.empty((1, 1), np.float32)
    for length in range(len(path)):
        if ids.shape[1]:
            _take_best(_numbers(bits[node, :vocab]), ids[length], logits[length])
        place = position + length if position >= 0 else -1
        best_tokens(*logits_at, vocab, np.array([node]), np.array([place]), alpha, key, made, ceilings, best, score)
        path[length] = node, best[0, 0]
        children = np.flatnonzero((parents == node) & (tokens == best[0, 0]))
        if not len(children):
            return length + 1
        node = int(children[0])
    return len(path)


def _take_best(scores: np.ndarray, ids: np.ndarray, best: np.ndarray) -> None:
    """The len(ids) largest of `scores`, largest first, the lower token of equals."""
    n, ordered = len(ids), np.nan_to_num(scores, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    least = np.partition(ordered, len(ordered) - n)[len(ordered) - n]
    candidates = np.flatnonzero(ordered >= least)
    ids[:] = candidates[np.argsort(-ordered[candidates], kind="stable")[:n]]
    best[:] = ordered[ids]


def _numbers(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers whose bits (int32), or upper half of the bits (int16), these are."""
    whole = bits if bits.itemsize == 4 else bits.astype(np.int32) << 16
    return whole.view(np.float32)


def _logarithm(x: np.ndarray) -> np.ndarray:
    """Of normal positive float64 numbers."""
    bits = x.view(np.uint64)
    exponent = (bits >> np.uint64(52)).astype(np.float64) - 1023.0
    m = ((bits & np.uint64((1 << 52) - 1)) | np.uint64(1023 << 52)).view(np.float64)
    above = m > ROOT_2
    m, exponent = np.where(above, 0.5 * m, m), exponent + above
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    remainder = np.full_like(z, LOG_TERMS[-1])
    for term in LOG_TERMS[-2::-1]:
        remainder = term + z * remainder
    remainder, half = z * remainder, 0.5 * f * f
    return exponent * LN2_HIGH - ((half - (s * (half + remainder) + exponent * LN2_LOW)) - f)
