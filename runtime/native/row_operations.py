"""What happens to one row of a forward between its products: norm, rotation, activation, soft bounds, softmax, storing into the cache."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numba import carray, njit

from casspec.runtime.native import exponentials
from casspec.runtime.native.layout import BFLOAT16, FLOAT16, FLOAT32, GELU_TANH, GROUP, LANES, SILU
from casspec.runtime.native.vectors import (
    bits_of_float,
    float_of_bits,
    float_of_half,
    floats,
    half_of_float,
    halves,
    octets,
    words,
)

ONE, ZERO = np.float32(1), np.float32(0)
LEVEL = np.float32(1 / 127)
MIDDLE = np.float32(128.5)  # truncation after adding a half rounds
HIDDEN = np.float32(-1e30)
"""Mask entries below it hide a slot."""


@njit(fastmath={"reassoc"})
def _inverse_length(row, n, epsilon):
    total = ZERO
    for i in range(n):
        total += row[i] * row[i]
    return ONE / np.float32(sqrt(total / np.float32(n) + epsilon))


@njit
def normalise(x, weight, out, n, epsilon):
    """Root-mean-square norm (Zhang and Sennrich 2019) of float32 row `x` [n] at addresses; `out` may be `x`."""
    row, scale, goal = carray(floats(x), n), carray(floats(weight), n), carray(floats(out), n)
    inverse = _inverse_length(row, n, epsilon)
    for i in range(n):
        goal[i] = row[i] * inverse * scale[i]


@njit
def rotate(x, angles, rotated, n, scale, out):
    """Rotary embedding (Su et al. 2021) of the first numbers of a head [n], all times `scale`; `out` may be `x`.

    angles: cosines [rotated / 2], then sines.
    """
    head, table, goal = carray(floats(x), n), carray(floats(angles), rotated), carray(floats(out), n)
    half = rotated // 2
    for i in range(half):
        low, high, cosine, sine = head[i], head[half + i], table[i], table[half + i]
        goal[i] = (low * cosine - high * sine) * scale
        goal[half + i] = (high * cosine + low * sine) * scale
    for i in range(rotated, n):
        goal[i] = head[i] * scale


@njit
def gate(gates, ups, n, activation):
    """gates := activation(gates) * ups, n float32 at addresses, a multiple of LANES; activations are those of `layout.py`."""
    if activation == SILU:
        for i in range(0, n, LANES):
            exponentials.gate(gates + 4 * i, ups + 4 * i)
    elif activation == GELU_TANH:
        for i in range(0, n, LANES):
            exponentials.gelu_tanh_gate(gates + 4 * i, ups + 4 * i)
    else:
        for i in range(0, n, LANES):
            exponentials.gelu_gate(gates + 4 * i, ups + 4 * i)


@njit
def cap(x, largest, n):
    """x := largest * tanh(x / largest), n float32 at an address, a multiple of LANES."""
    for i in range(0, n, LANES):
        exponentials.cap(x + 4 * i, largest)


@njit
def scale(x, factor, n):
    """x := x * factor, n float32 at an address."""
    row = carray(floats(x), n)
    for i in range(n):
        row[i] *= factor


@njit
def add(x, y, n):
    """x := x + y, n float32 at addresses."""
    left, right = carray(floats(x), n), carray(floats(y), n)
    for i in range(n):
        left[i] += right[i]


@njit
def weigh(scores, mask, kind, n):
    """scores [n] := exp(scores + mask - their largest), exactly zero where hidden; the mask's row is of `kind`, n a multiple of LANES."""
    row = carray(floats(scores), n)
    if kind == FLOAT32:
        plain = carray(floats(mask), n)
        for i in range(n):
            row[i] += plain[i]
    elif kind == BFLOAT16:
        short = carray(halves(mask), n)
        for i in range(n):
            row[i] += float_of_bits(np.int32(np.int32(short[i]) << 16))
    else:
        half = carray(halves(mask), n)
        for i in range(n):
            row[i] += float_of_half(half[i])
    top = _largest(row, n)
    for i in range(0, n, LANES):
        exponentials.weight(scores + 4 * i, top)


@njit(fastmath={"nnan", "nsz", "reassoc"})
def _largest(row, n):
    top = row[0]
    for i in range(n):
        top = max(top, row[i])
    return top


@njit
def last_seen(mask, kind, n):
    """The slots up to the last one that a row of the mask shows."""
    if kind == FLOAT32:
        plain = carray(floats(mask), n)
        while n > 0 and plain[n - 1] < HIDDEN:
            n -= 1
        return n
    bits = carray(halves(mask), n)
    while n > 0:
        value = float_of_bits(np.int32(np.int32(bits[n - 1]) << 16)) if kind == BFLOAT16 else float_of_half(bits[n - 1])
        if value > HIDDEN:
            break
        n -= 1
    return n


@njit
def first_seen(mask, kind, n):
    """The slots before the first one that a row of the mask shows; n where it shows none."""
    if kind == FLOAT32:
        plain = carray(floats(mask), n)
        for i in range(n):
            if plain[i] >= HIDDEN:
                return i
        return n
    bits = carray(halves(mask), n)
    for i in range(n):
        value = float_of_bits(np.int32(np.int32(bits[i]) << 16)) if kind == BFLOAT16 else float_of_half(bits[i])
        if value > HIDDEN:
            return i
    return n


@njit
def store(values, n, kind, out, stride):
    """Writes float32 `values` [n] rounded to `kind`, entries `stride` numbers apart."""
    source = carray(floats(values), n)
    if kind == FLOAT32:
        plain = carray(floats(out), n * stride)
        for i in range(n):
            plain[i * stride] = source[i]
    elif kind == BFLOAT16:
        short = carray(halves(out), n * stride)
        for i in range(n):
            bits = bits_of_float(source[i])
            short[i * stride] = np.uint16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)
    elif kind == FLOAT16:
        half = carray(halves(out), n * stride)
        for i in range(n):
            half[i * stride] = half_of_float(source[i])


@njit
def widen(x, kind, n, out):
    """Numbers `x` [n] of `kind` as float32."""
    goal = carray(floats(out), n)
    if kind == FLOAT32:
        plain = carray(floats(x), n)
        for i in range(n):
            goal[i] = plain[i]
    elif kind == BFLOAT16:
        short = carray(halves(x), n)
        for i in range(n):
            goal[i] = float_of_bits(np.int32(np.int32(short[i]) << 16))
    elif kind == FLOAT16:
        half = carray(halves(x), n)
        for i in range(n):
            goal[i] = float_of_half(half[i])


@njit(fastmath={"nnan", "nsz", "reassoc"})
def _largest_size(row, first, n):
    top = ZERO
    for i in range(first, first + n):
        top = max(top, abs(row[i]))
    return top


@njit
def to_levels(x, n, out, scale):
    """float32 row `x` [n] as levels 1 .. 255 around 128 of its own scale, its largest value / 127, written to address `scale`.

    Levels are padded to a multiple of four.
    """
    row, levels = carray(floats(x), n), carray(octets(out), n + 3)
    unit = _largest_size(row, 0, n) * LEVEL
    carray(floats(scale), 1)[0] = unit
    inverse = ONE / unit if unit > ZERO else ZERO
    for i in range(n):
        levels[i] = np.uint8(np.int32(row[i] * inverse + MIDDLE))
    for i in range(n, (n + 3) // 4 * 4):
        levels[i] = 128


@njit
def to_group_levels(x, n, out, entries):
    """float32 row `x` [n] as signed levels by group of GROUP inputs, with what a tile needs to know of each; n is a multiple of GROUP."""
    row, levels = carray(floats(x), n), carray(octets(out), n)
    reals, whole = carray(floats(entries), n // GROUP * 4), carray(words(entries), n // GROUP * 4)
    for group in range(n // GROUP):
        unit = _largest_size(row, group * GROUP, GROUP) * LEVEL
        inverse = ONE / unit if unit > ZERO else ZERO
        total = np.int32(0)
        for i in range(group * GROUP, group * GROUP + GROUP):
            level = np.int32(row[i] * inverse + MIDDLE) - 128
            total += level
            levels[i] = np.uint8(level & 255)
        reals[4 * group] = unit
        whole[4 * group + 1] = -8 * total
        reals[4 * group + 2] = unit * np.float32(total)
