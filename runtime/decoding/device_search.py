"""The best tokens of logits on a device, with the noise of their positions or without: found there, and read once a forward.

A token's rank in its row is one integer: the bits of its score, so turned that they compare as the scores do, then the token, so turned
that the lower one of equals comes first. Ranks are all different. So the best are the same on every device, whatever its kernels do
with equals, and one tensor says both which they are and how they score.

Shapes are those of the forward: its padding is searched too. Which rows are wanted is chosen on the host, from what was read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from casspec.runtime.decoding.noise import DeviceStream
from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.model.transfers import to_device
from casspec.runtime.text.sampling import Sampling

MOST_RANKED = 128
"""Rows ranked at once, so that a long prompt needs little memory."""

_TOKEN_BITS = 32
_TOKENS, _MAGNITUDE = (1 << _TOKEN_BITS) - 1, (1 << 31) - 1

Reader = Callable[[Tensor], np.ndarray]
"""Waits for a tensor on the device, as `casspec.runtime.model.transfers.to_host`."""


@dataclass(slots=True)
class ForwardRows:
    """Logits of a forward, and what its rows stand for.

    Attributes:
        logits: [rows, vocab], padding last.
        emitted: the position that a token after each row is emitted at, padding left out.
    """

    logits: Tensor
    emitted: Sequence[int]


class Said:
    """What a forward says of its rows, read when somebody first asks.

    Args:
        packed: ranks, [rows, any] int64 on the device.
        n_best: how many of a row's first ranks are its best. n_top: how many of its last are its largest logits.
        n_odds: probabilities behind those of the best.
    """

    __slots__ = ("_n_best", "_n_odds", "_n_top", "_numbers", "_packed", "_read", "_vocab_size")

    def __init__(
        self, packed: Tensor, read: Reader, vocab_size: int, n_best: int = 0, n_top: int = 0, n_odds: int = 0
    ) -> None:
        self._packed, self._read, self._vocab_size = packed, read, vocab_size
        self._n_best, self._n_top, self._n_odds = n_best, n_top, n_odds
        self._numbers: np.ndarray | None = None

    def tokens(self) -> list[int]:
        """The best one of each row."""
        found: list[int] = self._tokens(self._all()[:, 0]).tolist()
        return found

    def best(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 and scores float32 [rows, n_best], best first."""
        ranks = self._all()[rows, : self._n_best]
        return self._tokens(ranks), scores_of(ranks)

    def odds(self, rows: Sequence[int]) -> np.ndarray:
        """Probabilities of the best, float32 [rows, n_odds]."""
        bits = self._all()[rows, self._n_best : self._n_best + self._n_odds]
        return bits.astype(np.int32).view(np.float32)

    def top(self, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Ids int64 and logits float32 [rows, n_top], largest first."""
        ranks = self._all()[rows, -self._n_top :]
        return self._tokens(ranks), scores_of(ranks)

    def _all(self) -> np.ndarray:
        if self._numbers is None:
            self._numbers = self._read(self._packed)
        return self._numbers

    def _tokens(self, ranks: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(self._vocab_size - 1 - (ranks & _TOKENS))


class DeviceSearch:
    """Of a text's forwards on a device.

    Args:
        stream: of the text's noise; None when greedy.
        read: how answers are read.
    """

    def __init__(
        self, sampling: Sampling, stream: DeviceStream | None, vocab_size: int, device: torch.device, read: Reader
    ) -> None:
        self._sampling, self._stream, self._read = sampling, stream, read
        self._vocab_size = vocab_size
        self._from_last = torch.arange(vocab_size - 1, -1, -1, device=device)

    def verified(self, rows: ForwardRows, keeps_top: bool) -> Said:
        """The target's token after each row; with `keeps_top` also its best successors."""
        n_top = min(TOP_SUCCESSORS, self._vocab_size) if keeps_top else 0
        ranks = self._ranks(self._scores(rows))
        if n_top and self._stream is None:
            packed = ranks.topk(n_top).values  # the first of them is the token
        else:
            packed = ranks.amax(-1, keepdim=True)
            if n_top:
                packed = torch.cat((packed, self._ranks(rows.logits.float()).topk(n_top).values), 1)
        return Said(packed, self._read, self._vocab_size, 1, n_top)

    def drafted(self, rows: ForwardRows, n: int, probabilities: bool = False) -> Said:
        """The `n` best tokens of each row by log p~ + g, or by their logits when greedy.

        Args:
            probabilities: also the plan's own of each.
        """
        n = min(n, self._vocab_size)
        packed = self._ranks(self._scores(rows)).topk(n).values
        if probabilities:
            ids = self._vocab_size - 1 - (packed & _TOKENS)
            odds = self._sampling.scores(rows.logits).softmax(-1).gather(-1, ids)
            packed = torch.cat((packed, odds.view(torch.int32).to(torch.int64)), 1)
        return Said(packed, self._read, self._vocab_size, n, n_odds=n if probabilities else 0)

    def successors(self, logits: Tensor) -> Said:
        """The TOP_SUCCESSORS largest of each row of logits [rows, vocab]."""
        n = min(TOP_SUCCESSORS, self._vocab_size)
        parts = [self._ranks(part.float()).topk(n).values for part in logits.split(MOST_RANKED)]
        return Said(torch.cat(parts), self._read, self._vocab_size, n_top=n)

    def _scores(self, rows: ForwardRows) -> Tensor:
        """log p~ + g up to a constant a row, float32; the logits when greedy."""
        logits = rows.logits
        if self._stream is None:
            return logits.float()
        return self._sampling.perturbed(logits, self._noise(self._stream, rows.emitted, len(logits)))

    def _noise(self, stream: DeviceStream, emitted: Sequence[int], n_rows: int) -> Tensor:
        """g of the positions, and any of them for the padding [n_rows, vocab]."""
        first = min(emitted)
        places = [position - first for position in emitted]
        noise = stream.rows(first, max(places) + 1)
        if places == list(range(n_rows)):
            return noise
        return noise.index_select(0, to_device([*places, *[0] * (n_rows - len(places))], noise.device))

    def _ranks(self, scores: Tensor) -> Tensor:
        """int64 [rows, vocab] for scores in float32."""
        bits = scores.add(0.0).view(torch.int32)  # of a negative zero they become those of the other
        ordered = bits ^ ((bits >> 31) & _MAGNITUDE)
        return torch.add(self._from_last, ordered, alpha=1 << _TOKEN_BITS)


def scores_of(ranks: np.ndarray) -> np.ndarray:
    """The scores, float32, in ranks."""
    ordered = (ranks >> _TOKEN_BITS).astype(np.int32)
    return np.ascontiguousarray(ordered ^ ((ordered >> 31) & np.int32(_MAGNITUDE))).view(np.float32)
