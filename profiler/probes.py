"""Turns latency points into calls: the forward a point describes, on inputs built as decoding builds them.

The cache holds random rows, never zeros: some processors multiply zeros faster, and all of them keep a warmer cache of
one repeated page.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from casspec.profiler.timing import Call
from casspec.runtime.latency.features import attended_tokens
from casspec.runtime.model.forward_input import ForwardInput, bucket
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import LatencyPoint, SkipSet

RUNS_BEFORE_REPLAY = 2
"""Of a forward that is captured as a graph: the second one captures it, which is no part of what it takes."""


class Probes:
    """Calls for points of one model; points of one batch size share a cache large enough for all of them."""

    def __init__(self, target: TargetModel, points: Iterable[LatencyPoint], seed: int = 0) -> None:
        points = list(points)
        self._target = target
        self._dice = torch.Generator().manual_seed(seed)
        self._caches: dict[int, KVCache] = {}
        for batch in {point.batch for point in points}:
            capacity = max(attended_tokens(point) for point in points if point.batch == batch)
            self._caches[batch] = cache = target.new_cache(capacity, batch)
            cache.scatter()

    def call(self, point: LatencyPoint) -> Call:
        """A forward as `point` describes it, captured where it will be; sub-layers alone run without the head."""
        target, cache = self._target, self._caches[point.batch]
        inputs = self._inputs(point)
        plan = plan_of(point, target.n_layers)
        run = target.hidden if point.subject in ("attention", "mlp") else target.forward
        for _ in range(RUNS_BEFORE_REPLAY if target.forwards == "graphs" else 0):
            run(inputs, cache, plan)
        return lambda: run(inputs, cache, plan)

    def _inputs(self, point: LatencyPoint) -> ForwardInput:
        """A chain of `n_tokens` queries after the context, padded to its bucket; padding writes to the scratch slot."""
        target, cache = self._target, self._caches[point.batch]
        size, length, start = bucket(point.n_tokens), attended_tokens(point), point.context_tokens
        places = torch.arange(start, start + size)
        real = torch.arange(size) < point.n_tokens
        slots = torch.where(real, places, cache.scratch_slot)
        rows = torch.arange(point.batch)[:, None] * cache.slots + slots
        seen = torch.arange(length) <= torch.where(real, places, start)[:, None]
        # Decoding slices its masks from one buffer as wide as the cache.
        mask = torch.zeros(size, cache.capacity, dtype=target.dtype, device=target.device)[:, :length]
        mask.masked_fill_(~seen.to(target.device), -torch.inf)
        tokens = torch.randint(target.vocab_size, (point.batch, size), generator=self._dice)
        positions = torch.where(real, places, 0).expand(point.batch, size)
        return ForwardInput(
            tokens.to(target.device),
            positions.contiguous().to(target.device),
            rows.reshape(-1).to(target.device),
            mask[None, None],
            length,
        )


def plan_of(point: LatencyPoint, n_layers: int) -> Plan:
    """A plan with as many sub-layers as the point says, spread evenly; which ones run makes no difference in time."""
    attention, mlp = _evenly(point.n_attention, n_layers), _evenly(point.n_mlp, n_layers)
    skip = SkipSet(
        attention=tuple(layer for layer in range(n_layers) if layer not in attention),
        mlp=tuple(layer for layer in range(n_layers) if layer not in mlp),
    )
    return Plan.skipping(skip, n_layers, precision=point.precision)


def _evenly(count: int, n_layers: int) -> set[int]:
    return {index * n_layers // count for index in range(count)}
