"""Numbers and their bits, as compiled code turns one into the other."""

from __future__ import annotations

import math

import numpy as np
from numba import carray, njit

from casspec.runtime.native import processor
from casspec.runtime.native.layout import LANES
from casspec.runtime.native.vectors import (
    bits_of_float,
    float_of_bits,
    float_of_half,
    floats,
    half_of_float,
    halves,
    numbers,
    octets,
    words,
)


@njit
def converted(halves_, out, back, bits):
    for i in range(len(halves_)):
        out[i] = float_of_half(halves_[i])
        back[i] = half_of_float(out[i])
        bits[i] = bits_of_float(float_of_bits(bits_of_float(out[i])))


@njit
def seconds(address):
    """The second entry of what lies there, as each kind of number."""
    return (
        carray(floats(address), 2)[1],
        carray(words(address), 2)[1],
        carray(halves(address), 2)[1],
        carray(octets(address), 2)[1],
        carray(numbers(address), 2)[1],
    )


def test_every_half_becomes_its_float_and_comes_back() -> None:
    all_halves = np.arange(2**16, dtype=np.uint16)
    floats_, back, bits = np.empty(2**16, np.float32), np.empty_like(all_halves), np.empty(2**16, np.int32)
    converted(all_halves, floats_, back, bits)
    expected = all_halves.view(np.float16).astype(np.float32)
    finite = np.isfinite(expected)
    assert np.array_equal(floats_[finite].view(np.int32), expected[finite].view(np.int32))
    assert np.array_equal(back[finite], all_halves[finite])
    assert np.array_equal(bits, floats_.view(np.int32))


def test_an_address_is_read_as_what_it_is_said_to_hold() -> None:
    memory = np.arange(1, 5, dtype=np.int32)
    found = seconds(memory.ctypes.data)
    assert found[0] == memory.view(np.float32)[1]
    assert found[1:] == (2, 0, 0, 3 + (4 << 32))


def test_vectors_are_as_long_as_the_processors() -> None:
    assert processor.lanes() == LANES
    assert math.log2(LANES).is_integer()
