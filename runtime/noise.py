"""Sampling noise fixed by position: Gumbel vectors from a counter-based generator.

The target's token at an emitted position i is argmax(log p~_i + g_i) with g_i ~ Gumbel(0, 1) keyed by (seed, sequence, i). That is
exact sampling from p~ (the Gumbel-max trick), it makes verification of any tree an equality test, and a drafter that adds the same
g_i to its own scores agrees with the target far more often than one that does not (Daliri et al. 2024).

The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") in integer tensor operations, so
that the bits are the same on every device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_MASK = 0xFFFFFFFF


def philox(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[int, int]) -> tuple[Tensor, ...]:
    """Philox4x32-10: four 32-bit words (int64 tensors) for broadcastable 32-bit counter words and a 64-bit key.

    Products of two 32-bit words wrap around in int64; masking after the shift gives the unsigned high word.
    """
    c0, c1, c2, c3 = (word.clone(memory_format=torch.contiguous_format) for word in torch.broadcast_tensors(*counter))
    first, second = torch.empty_like(c0), torch.empty_like(c0)
    k0, k1 = key
    for _ in range(_ROUNDS):
        torch.mul(c0, _MULTIPLIERS[0], out=first)
        torch.mul(c2, _MULTIPLIERS[1], out=second)
        torch.bitwise_right_shift(second, 32, out=c0).bitwise_and_(_MASK).bitwise_xor_(c1).bitwise_xor_(k0)
        torch.bitwise_right_shift(first, 32, out=c2).bitwise_and_(_MASK).bitwise_xor_(c3).bitwise_xor_(k1)
        torch.bitwise_and(second, _MASK, out=c1)
        torch.bitwise_and(first, _MASK, out=c3)
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK, (k1 + _KEY_STEPS[1]) & _MASK
    return c0, c1, c2, c3


class GumbelNoise:
    """Gumbel vectors by emitted position, made in windows so that a step does not pay for a generator call.

    Args:
        seed: any integer; its low 64 bits are the key.
        sequence: which prompt or batch row, so that several of one seed are independent; its low 32 bits count.
        vocab_size, device: of the logits the noise is added to.
    """

    def __init__(self, seed: int, vocab_size: int, device: torch.device | str = "cpu", sequence: int = 0) -> None:
        self._key = (seed & _MASK, seed >> 32 & _MASK)
        self._sequence = torch.tensor(sequence & _MASK, device=device)
        self._zero = torch.zeros((), dtype=torch.int64, device=device)
        self._vocab_size = vocab_size
        # One Philox call serves four tokens: token v reads word v % 4 of counter v // 4.
        self._blocks = torch.arange(-(-vocab_size // 4), dtype=torch.int64, device=device)[None]
        self._window_rows = 16
        self._start = 0
        self._window = torch.empty(0, vocab_size, device=device)
        self._host = self._window.cpu().numpy()

    def rows(self, position: int, count: int) -> Tensor:
        """g at emitted positions position .. position + count - 1: [count, vocab] float32."""
        offset = self._place(position, count)
        return self._window[offset : offset + count]

    def host_rows(self, position: int, count: int) -> np.ndarray:
        """The same numbers for drafters that look tokens up on the host."""
        offset = self._place(position, count)
        return self._host[offset : offset + count]

    def _place(self, position: int, count: int) -> int:
        if position < self._start or position + count > self._start + len(self._window):
            kept = self._window[max(position - self._start, 0) :] if position >= self._start else self._window[:0]
            fresh_start = position + len(kept)
            fresh = self._generate(fresh_start, max(self._window_rows, count - len(kept)))
            self._window, self._start = torch.cat((kept, fresh)), position
            self._host = self._window.cpu().numpy()
        return position - self._start

    def _generate(self, position: int, count: int) -> Tensor:
        positions = torch.arange(position, position + count, dtype=torch.int64, device=self._blocks.device)[:, None]
        words = philox((self._blocks, positions, self._sequence, self._zero), self._key)
        uniform = torch.stack(words, dim=-1).flatten(1)[:, : self._vocab_size].to(torch.float32)
        # u in (0, 1) with full relative precision near 0, where -log1p(-u) decides which token wins.
        uniform.add_(0.5).mul_(2.0**-32).clamp_(max=1 - 2.0**-24)
        return uniform.neg_().log1p_().neg_().log_().neg_()
