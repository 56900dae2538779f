"""Sampling noise fixed by position: Gumbel vectors from a counter-based generator.

The target's token at an emitted position i is argmax(log p~_i + g_i) with g_i ~ Gumbel(0, 1) keyed by (seed, sequence, i). That is
exact sampling from p~ (the Gumbel-max trick), it makes verification of any tree an equality test, and a drafter that adds the same
g_i to its own scores agrees with the target far more often than one that does not (Daliri et al. 2024).

The generator is SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators") used as a counter-based
hash: word j of a stream is mix(key + (j + 1) * gamma), in integer tensor operations, so that the bits are the same on every device
and any position can be asked for in any order. Each (seed, sequence, position) has its own key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

GAMMA = 0x9E3779B97F4A7C15
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT = 31
_WORD = (1 << 64) - 1
_LARGEST = 1 - 2.0**-24
"""Of u, in float32 the last number below 1."""

WINDOW_NUMBERS = 1 << 18
"""Made at once on the host, about: many enough that calls do not count, few enough for the caches."""

NoiseRow = Sequence[float]
"""The Gumbel vector of one position, on the host: read entry by entry."""


def mix(value: int) -> int:
    """SplitMix64's finaliser on one unsigned 64-bit word."""
    for shift, factor in _MIX:
        value = ((value ^ value >> shift) * factor) & _WORD
    return value ^ value >> _LAST_SHIFT


def mix_host(words: np.ndarray) -> np.ndarray:
    """The same on uint64 words, in place; products wrap around."""
    shifted = np.empty_like(words)
    for shift, factor in _MIX:
        words ^= np.right_shift(words, np.uint64(shift), out=shifted)
        words *= np.uint64(factor)
    words ^= np.right_shift(words, np.uint64(_LAST_SHIFT), out=shifted)
    return words


def mix_words(words: Tensor) -> Tensor:
    """The same on int64 words of two's complement, in place. A shift is made logical by masking."""
    shifted = torch.empty_like(words)
    for shift, factor in _MIX:
        torch.bitwise_right_shift(words, shift, out=shifted).bitwise_and_((1 << 64 - shift) - 1)
        words.bitwise_xor_(shifted).mul_(_signed(factor))
    torch.bitwise_right_shift(words, _LAST_SHIFT, out=shifted).bitwise_and_((1 << 64 - _LAST_SHIFT) - 1)
    return words.bitwise_xor_(shifted)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


class GumbelNoise:
    """Gumbel vectors by emitted position, made in windows so that a step does not pay for a generator call.

    Args:
        seed: any integer; its low 64 bits count.
        sequence: which prompt or batch row, so that several of one seed are independent.
        vocab_size, device: of the logits the noise is added to.
    """

    def __init__(self, seed: int, vocab_size: int, device: torch.device | str = "cpu", sequence: int = 0) -> None:
        key = mix((mix(seed & _WORD) + sequence) & _WORD)
        on_host = torch.device(device).type == "cpu"
        self._generate = HostStream(key, vocab_size) if on_host else DeviceStream(key, vocab_size, device)
        self._start = 0
        self._window = torch.empty(0, vocab_size, device=device)
        self._host: list[NoiseRow] = []  # the window, once somebody asks for it there

    def rows(self, position: int, count: int) -> Tensor:
        """g at emitted positions position .. position + count - 1: [count, vocab] float32."""
        if position < self._start:
            return self._generate(position, count)  # a look back leaves the window where the next step needs it
        offset = self._place(position, count)
        return self._window[offset : offset + count]

    def host_rows(self, position: int, count: int) -> list[NoiseRow]:
        """The same numbers for drafters that look tokens up on the host, where a view reads a few of them fastest."""
        offset = self._place(position, count)
        if not self._host:
            self._host = [cast(NoiseRow, memoryview(row)) for row in self._window.cpu().numpy()]
        return self._host[offset : offset + count]

    def _place(self, position: int, count: int) -> int:
        if position < self._start or position + count > self._start + len(self._window):
            kept = self._window[max(position - self._start, 0) :] if position >= self._start else self._window[:0]
            fresh_start = position + len(kept)
            fresh = self._generate(fresh_start, max(self._generate.window_rows, count - len(kept)))
            self._window, self._start = torch.cat((kept, fresh)), position
            self._host = []
        return position - self._start


class HostStream:
    """Gumbel rows of one key, by numpy, whose logarithms take a third of the time torch's take."""

    def __init__(self, key: int, vocab_size: int) -> None:
        self.window_rows = max(8, min(64, WINDOW_NUMBERS // vocab_size))
        self._key, self._vocab_size = np.uint64(key), vocab_size
        self._counters = _counters(vocab_size)

    def __call__(self, position: int, count: int) -> Tensor:
        """Rows from `position` on [count, vocab]."""
        keys = mix_host(np.arange(position, position + count, dtype=np.uint64) * np.uint64(GAMMA) + self._key)
        words = mix_host(self._counters + keys[:, None]).view(np.uint32)
        uniform = words[:, : self._vocab_size].astype(np.float32)
        uniform += np.float32(0.5)
        uniform *= np.float32(2.0**-32)
        np.minimum(uniform, np.float32(_LARGEST), out=uniform)
        np.negative(uniform, out=uniform)
        np.log1p(uniform, out=uniform)
        np.negative(uniform, out=uniform)
        np.log(uniform, out=uniform)
        return torch.from_numpy(np.negative(uniform, out=uniform))


class DeviceStream:
    """The same by torch, on any device."""

    window_rows = 32

    def __init__(self, key: int, vocab_size: int, device: torch.device | str) -> None:
        self._key, self._vocab_size = key, vocab_size
        self._counters = torch.from_numpy(_counters(vocab_size).view(np.int64)).to(device)

    def __call__(self, position: int, count: int) -> Tensor:
        """Rows from `position` on [count, vocab]."""
        keys = [_signed(mix((self._key + i * GAMMA) & _WORD)) for i in range(position, position + count)]
        words = mix_words(self._counters + torch.tensor(keys, device=self._counters.device)[:, None])
        # The halves as signed numbers (-2^31 .. 2^31 - 1), moved to u in (0, 1).
        uniform = words.view(torch.int32)[:, : self._vocab_size].to(torch.float32).add_(0.5).mul_(2.0**-32)
        uniform.sub_(uniform.floor()).clamp_(max=_LARGEST)
        return uniform.neg_().log1p_().neg_().log_().neg_()


def _counters(vocab_size: int) -> np.ndarray:
    """Multiples of gamma, uint64 [words]. One word serves two tokens: 2j and 2j + 1 read the halves of word j, low half first.

    u has full relative precision near 0, where -log1p(-u), an exponential variate, decides which token wins.
    """
    return np.arange(1, (vocab_size + 1) // 2 + 1, dtype=np.uint64) * np.uint64(GAMMA)
