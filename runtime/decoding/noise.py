"""Sampling noise fixed by position: Gumbel numbers from a counter-based generator.

The target's token at an emitted position i is argmax(log p~_i + g_i) with g_i ~ Gumbel(0, 1) keyed by (seed, sequence, i). That is
exact sampling from p~ (the Gumbel-max trick), it makes verification of any tree an equality test, and a drafter that adds the same
g_i to its own scores agrees with the target far more often than one that does not (Daliri et al. 2024).

The generator is SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators") used as a counter-based
hash: word j of a stream is mix(key + (j + 1) * gamma), in integer operations, so that the bits are the same on every device and any
number can be asked for alone, in any order. Each (seed, sequence, position) has its own key. One word serves two tokens: 2j and 2j + 1
read the halves of word j, low half first, and u = (half + 1/2) / 2^32 has full relative precision near 0, where -log(1 - u), an
exponential variate, decides which token wins.

On the host nobody needs whole rows: `runtime/decoding/vocabulary.py` makes what it reads. A device makes rows in windows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.decoding.plain_vocabulary import GAMMA, LAST_SHIFT, MIX, WORD, mix
from casspec.runtime.decoding.vocabulary import BLOCK, gumbel_entries, gumbel_rows
from casspec.runtime.model.transfers import is_host, to_device

_LARGEST = 1 - 2.0**-24
"""Of u on a device, in float32 the last number below 1."""

KEPT_POSITIONS = 64
"""Positions whose ceilings are kept: more than one step looks ahead."""

WINDOW_ROWS = 32
"""Made at once on a device: many enough that calls do not count."""


def mix_words(words: Tensor) -> Tensor:
    """`mix` on int64 words of two's complement, in place. A shift is made logical by masking."""
    shifted = torch.empty_like(words)
    for shift, factor in MIX:
        torch.bitwise_right_shift(words, shift, out=shifted).bitwise_and_((1 << 64 - shift) - 1)
        words.bitwise_xor_(shifted).mul_(_signed(factor))
    torch.bitwise_right_shift(words, LAST_SHIFT, out=shifted).bitwise_and_((1 << 64 - LAST_SHIFT) - 1)
    return words.bitwise_xor_(shifted)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


class NoiseRow:
    """The Gumbel numbers of one position, each made when it is read.

    Attributes:
        key, position: of the stream, and in it.
    """

    __slots__ = ("key", "position")

    def __init__(self, key: np.uint64, position: int) -> None:
        self.key, self.position = key, position

    def __getitem__(self, token: int) -> float:
        return self.of([token])[0]

    def of(self, tokens: Sequence[int]) -> list[float]:
        """g of each of `tokens`."""
        g = np.empty(len(tokens), np.float32)
        gumbel_entries(self.key, self.position, np.array(tokens, np.int64), g)
        return g.tolist()


class GumbelNoise:
    """Gumbel numbers by emitted position and token.

    Args:
        seed: any integer; its low 64 bits count.
        sequence: which prompt or batch row, so that several of one seed are independent.
        vocab_size, device: of the logits the noise is added to.

    Attributes:
        key: of the stream. made, ceilings: at place `position % KEPT_POSITIONS`, the position and the largest g of each block of tokens,
            float32 [KEPT_POSITIONS, blocks]; filled by those who read them, on the host.
    """

    def __init__(self, seed: int, vocab_size: int, device: torch.device | str = "cpu", sequence: int = 0) -> None:
        key = mix((mix(seed & WORD) + sequence) & WORD)
        self.key = np.uint64(key)
        self.made = np.full(KEPT_POSITIONS, -1, np.int64)
        self.ceilings = np.empty((KEPT_POSITIONS, -(-vocab_size // BLOCK)), np.float32)
        self._vocab_size, self._device = vocab_size, torch.device(device)
        self._stream: DeviceStream | None = None

    @property
    def stream(self) -> DeviceStream:
        """Its rows on the device."""
        if self._stream is None:
            self._stream = DeviceStream(int(self.key), self._vocab_size, self._device)
        return self._stream

    def rows(self, position: int, count: int) -> Tensor:
        """g at emitted positions position .. position + count - 1: [count, vocab] float32, which nobody writes to."""
        if not is_host(self._device):
            return self.stream.rows(position, count)
        g = np.empty((count, self._vocab_size), np.float32)
        gumbel_rows(self.key, position, g)
        return torch.from_numpy(g)

    def rows_at(self, positions: Sequence[int]) -> Tensor:
        """g at emitted positions: [len(positions), vocab] float32."""
        first = min(positions)
        rows = self.rows(first, max(positions) - first + 1)
        return rows.index_select(0, to_device([position - first for position in positions], self._device))

    def host_rows(self, position: int, count: int) -> list[NoiseRow]:
        """The same for drafters that look tokens up on the host, whatever the device: equal there but for rounding."""
        return [NoiseRow(self.key, place) for place in range(position, position + count)]


class DeviceStream:
    """Gumbel rows of one key by torch, on any device, made in windows so that a step does not pay for a generator call."""

    def __init__(self, key: int, vocab_size: int, device: torch.device | str) -> None:
        self._key, self._vocab_size = key, vocab_size
        self._counters = torch.arange(1, (vocab_size + 1) // 2 + 1, device=device).mul_(_signed(GAMMA))
        self._start = 0
        self._window = torch.empty(0, vocab_size, device=device)  # rows from `_start` on

    def rows(self, position: int, count: int) -> Tensor:
        """Rows from `position` on [count, vocab] float32."""
        offset = position - self._start
        if offset < 0:
            return self.make(position, count)  # a look back leaves the window where the next step needs it
        if offset + count > len(self._window):
            kept = self._window[offset:]
            made = self.make(position + len(kept), max(WINDOW_ROWS, count - len(kept)))
            self._window, self._start, offset = torch.cat((kept, made)), position, 0
        return self._window[offset : offset + count]

    def make(self, position: int, count: int) -> Tensor:
        """Rows from `position` on [count, vocab], made now."""
        places = torch.arange(position, position + count, device=self._counters.device)
        keys = mix_words(places.mul_(_signed(GAMMA)).add_(_signed(self._key)))
        words = mix_words(self._counters + keys[:, None])
        # The halves as signed numbers (-2^31 .. 2^31 - 1), moved to u in (0, 1).
        uniform = words.view(torch.int32)[:, : self._vocab_size].to(torch.float32).add_(0.5).mul_(2.0**-32)
        uniform.sub_(uniform.floor()).clamp_(max=_LARGEST)
        return uniform.neg_().log1p_().neg_().log_().neg_()
