"""Teacher forcing: the target's own forward over a known text, which fills a cache with its rows and scores every
position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from casspec.runtime.model.forward_input import CONTEXT_STEP, QUERY_BUCKETS, ForwardInput, bucket
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.target import TargetModel

LONGEST_CHUNK = QUERY_BUCKETS[-1]


def masked_input(
    target: TargetModel, cache: KVCache, tokens: Tensor, positions: Tensor, slots: Tensor, visible: Tensor
) -> ForwardInput:
    """A forward over `tokens` at rotary `positions` that writes `slots` and sees what `visible` says.

    Args:
        tokens, positions, slots: int64 [queries]; at most the largest bucket.
        visible: bool [queries, columns], the slots each query attends to, its own included.

    Rows up to the bucket's size are padding: they write to the scratch slot and nobody reads what they give.
    """
    n, columns = visible.shape
    size = bucket(n)
    length = min(-(-columns // CONTEXT_STEP) * CONTEXT_STEP, cache.capacity)
    device = target.device
    mask = torch.full((size, length), -torch.inf, dtype=target.dtype, device=device)
    mask[:n, :columns].masked_fill_(visible.to(device), 0)
    mask[n:, 0] = 0
    padded = torch.zeros(3, size, dtype=torch.int64, device=device)
    padded[2] = cache.scratch_slot
    padded[:, :n] = torch.stack((tokens, positions, slots)).to(device)
    return ForwardInput(padded[0:1], padded[1:2], padded[2], mask[None, None], length)


def teacher_forced(target: TargetModel, tokens: Sequence[int], cache: KVCache) -> Iterator[tuple[int, Tensor]]:
    """Writes the target's rows of `tokens` to slots 0.. and yields (first position, hidden states [n, hidden]) by
    chunks.
    """
    cache.require(len(tokens))
    text = torch.as_tensor(tokens, dtype=torch.int64)
    for start in range(0, len(text), LONGEST_CHUNK):
        places = torch.arange(start, min(start + LONGEST_CHUNK, len(text)))
        visible = torch.arange(int(places[-1]) + 1)[None] <= places[:, None]
        inputs = masked_input(target, cache, text[places], places, places, visible)
        yield start, target.hidden(inputs, cache, target.full_plan)[: len(places)]
