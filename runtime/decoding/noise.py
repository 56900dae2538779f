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
from typing import Any, cast

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
"""Made at once on the host, about: many enough that calls do not count."""

BLOCK_ROWS = 8
"""Of them, made so many at a time: what lies between two calls stays in the caches."""

NoiseRow = Sequence[float]
"""The Gumbel vector of one position, on the host: read entry by entry."""


def mix(value: int) -> int:
    """SplitMix64's finaliser on one unsigned 64-bit word."""
    for shift, factor in _MIX:
        value = ((value ^ value >> shift) * factor) & _WORD
    return value ^ value >> _LAST_SHIFT


def mix_host(words: np.ndarray, shifted: np.ndarray | None = None) -> np.ndarray:
    """The same on uint64 words, in place; products wrap around. `shifted` is room for as many, where the caller has it."""
    shifted = np.empty_like(words) if shifted is None else shifted
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
        end: positions from here on will hardly be asked for, so windows end there.
    """

    def __init__(
        self,
        seed: int,
        vocab_size: int,
        device: torch.device | str = "cpu",
        sequence: int = 0,
        end: int | None = None,
    ) -> None:
        key = mix((mix(seed & _WORD) + sequence) & _WORD)
        on_host = torch.device(device).type == "cpu"
        self._generate = HostStream(key, vocab_size) if on_host else DeviceStream(key, vocab_size, device)
        self._end = end
        self._start = 0
        self._rows: list[Tensor] = []  # of the window, which begins at `_start`
        self._host: list[NoiseRow] = []  # the first of them, once somebody asks for them there

    def row(self, position: int) -> Tensor:
        """g at one emitted position: [vocab] float32."""
        return self._at(position, 1)[0]

    def rows(self, position: int, count: int) -> Tensor:
        """g at emitted positions position .. position + count - 1: [count, vocab] float32."""
        return torch.stack(self._at(position, count))

    def rows_at(self, positions: Sequence[int]) -> Tensor:
        """g at emitted positions: [len(positions), vocab] float32."""
        first = min(positions)
        rows = self._at(first, max(positions) - first + 1)
        return torch.stack([rows[position - first] for position in positions])

    def host_rows(self, position: int, count: int) -> list[NoiseRow]:
        """The same numbers for drafters that look tokens up on the host, where a view reads a few of them fastest."""
        rows = self._at(position, count)
        if position < self._start:
            return _on_host(rows)
        if len(self._host) < len(self._rows):
            self._host += _on_host(self._rows[len(self._host) :])
        offset = position - self._start
        return self._host[offset : offset + count]

    def _at(self, position: int, count: int) -> list[Tensor]:
        offset = position - self._start
        if offset < 0:
            return list(self._generate(position, count))  # a look back leaves the window where the next step needs it
        if offset + count > len(self._rows):
            self._move(position, count)
            offset = 0
        return self._rows[offset : offset + count]

    def _move(self, position: int, count: int) -> None:
        """Begins the window at `position`, with `count` rows at least."""
        passed = position - self._start
        del self._rows[:passed], self._host[:passed]
        self._start, first = position, position + len(self._rows)
        n_rows = self._generate.window_rows
        if self._end is not None:
            n_rows = min(n_rows, self._end - first)
        self._rows += self._generate(first, max(n_rows, count - len(self._rows))).unbind()


def _on_host(rows: list[Tensor]) -> list[NoiseRow]:
    on_host = rows if rows[0].device.type == "cpu" else torch.stack(rows).cpu().unbind()
    return [cast(NoiseRow, memoryview(cast(Any, row.numpy()))) for row in on_host]


class HostStream:
    """Gumbel rows of one key, by numpy, whose logarithms take a third of the time torch's take."""

    def __init__(self, key: int, vocab_size: int) -> None:
        self.window_rows = max(BLOCK_ROWS, min(64, WINDOW_NUMBERS // vocab_size))
        self._key, self._vocab_size = np.uint64(key), vocab_size
        self._counters = _counters(vocab_size)
        self._words = np.empty((2, BLOCK_ROWS, len(self._counters)), np.uint64)

    def __call__(self, position: int, count: int) -> Tensor:
        """Rows from `position` on [count, vocab]."""
        keys = mix_host(np.arange(position, position + count, dtype=np.uint64) * np.uint64(GAMMA) + self._key)
        noise = np.empty((count, self._vocab_size), np.float32)
        for start in range(0, count, BLOCK_ROWS):
            self._make(keys[start : start + BLOCK_ROWS], noise[start : start + BLOCK_ROWS])
        return torch.from_numpy(noise)

    def _make(self, keys: np.ndarray, noise: np.ndarray) -> None:
        """The rows of `keys` (uint64), at most BLOCK_ROWS of them."""
        words, shifted = self._words[:, : len(keys)]
        np.add(self._counters, keys[:, None], out=words)
        np.copyto(noise, mix_host(words, shifted).view(np.uint32)[:, : self._vocab_size])
        noise += np.float32(0.5)
        noise *= np.float32(2.0**-32)
        np.minimum(noise, np.float32(_LARGEST), out=noise)
        np.negative(noise, out=noise)
        np.log1p(noise, out=noise)
        np.negative(noise, out=noise)
        np.log(noise, out=noise)
        np.negative(noise, out=noise)


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
