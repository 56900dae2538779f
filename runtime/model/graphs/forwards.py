"""Forwards run over static memory, each a graph from the second time on that its shape is asked for.

Graphs are told apart by what they are captured with: the plan, where the cache lies, sequences, query bucket, bytes of visibility, attended
length, and how many rows are read. Attended lengths are powers of two, so that graphs stay few while a text grows.

A forward over several sequences is captured where their caches are pieces of one pool (`cache_pool.py`): each is padded to the queries
of the longest, and a graph finds the rows by number. One whose padding would be most of it runs as it is, as does a long chunk of a prompt.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from casspec.runtime.model.device_input import DeviceInput
from casspec.runtime.model.forward_input import QUERY_BUCKETS, ForwardInput, bucket
from casspec.runtime.model.graphs.cache_pool import CachePool, GatheredCache
from casspec.runtime.model.graphs.given import Given
from casspec.runtime.model.graphs.store import GraphStore
from casspec.runtime.model.joint_input import JointInput, JointPart
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan, Steps
from casspec.runtime.model.staging import Seat, Staging, power_of_two
from casspec.storage.schema import Precision

MOST_QUERIES = 128
"""Of a sequence in a captured forward; computing takes longer than launching from there on."""

MOST_PADDED_ROWS = 256
"""Of a captured forward over several sequences, unless half of its rows are asked for."""

Ends = Literal["logits", "hidden"]
How = Literal["single", "joint", "joint-wanted"]


class Forward(Protocol):
    """What is captured: a forward of one precision, by operators of torch that wait for nothing."""

    def logits(self, inputs: ForwardInput, cache: Any, steps: Steps, wanted: Tensor | None = None) -> Tensor:
        """Of all query rows [rows, vocab], or of the rows `wanted` (int64)."""

    def hidden(self, inputs: ForwardInput, cache: Any, steps: Steps) -> Tensor:
        """Final-norm hidden states [rows, hidden]."""


class JointForward(Forward, Protocol):
    """One that runs over several sequences too."""

    def joint_logits(self, inputs: JointInput, steps: Steps, wanted: Tensor | None = None) -> Tensor:
        """Logits of several sequences, one after the other."""


@dataclass(frozen=True, slots=True)
class Key:
    """What tells graphs apart.

    Attributes:
        memory: number of the cache, or of the pool that it is a piece of.
        seats: sequences; 0 for inputs that were given as tensors. window: bytes of a query's visibility.
        read: rows whose logits are read; 0 for all. how: whether these are numbered along the sequences, and whether by the caller.
    """

    ends: Ends
    steps: Steps
    precision: Precision
    memory: int
    seats: int
    queries: int
    window: int
    length: int
    read: int
    how: How = "single"
    batch: int = 1


class GraphedForwards:
    """The forwards of one model in one thread. Results are valid until the next forward of the thread.

    Args:
        hidden, vocab: widths of what a forward gives, in `dtype`.
    """

    def __init__(self, store: GraphStore, hidden: int, vocab: int, dtype: torch.dtype, device: torch.device) -> None:
        self.store = store
        self._widths: dict[Ends, int] = {"hidden": hidden, "logits": vocab}
        self._dtype, self._device = dtype, device
        self._numbers = itertools.count()
        self._of_caches: weakref.WeakKeyDictionary[KVCache, int] = weakref.WeakKeyDictionary()
        self._stagings: dict[tuple[int, int, int], Staging] = {}
        self._given: dict[tuple[int, ...], Given] = {}
        self._results: dict[tuple[Ends, int], Tensor] = {}

    def single(
        self,
        ends: Ends,
        forward: Forward,
        inputs: ForwardInput,
        cache: KVCache,
        plan: Plan,
        wanted: Tensor | None,
        pool: CachePool | None,
    ) -> Tensor | None:
        """Logits or hidden states as a forward gives them; None where it is to run as it is."""
        if not isinstance(inputs, DeviceInput):
            return self._over_tensors(ends, forward, inputs, cache, plan, wanted)
        n_read = None if wanted is None else rows_bucket(len(wanted))
        if inputs.size > MOST_QUERIES or cache.batch > 1 or (n_read is None and wanted is not None):
            return None
        base, length = None if pool is None else pool.first_row(cache), power_of_two(inputs.length)
        if pool is None or base is None:
            whole, over, base, length = cache, None, 0, min(length, cache.capacity)
        else:
            whole, over = pool.whole, pool
        staging = self._staging(1, inputs.size, inputs.queries.window)
        staging.write([Seat(inputs.queries, inputs.n_tokens, base, base + cache.capacity)], whole.scratch_slot)
        key = self._key(ends, plan, whole, (1, inputs.size, inputs.queries.window), length, n_read or 0)
        rows = self._rows_read(staging, wanted, n_read)

        def launched() -> Tensor:
            given = ForwardInput(staging.token_ids, staging.positions, staging.rows, staging.mask(length), length)
            seen = whole if over is None else GatheredCache(over.whole, staging.bases, staging.lasts)
            return _ended(ends, forward, given, seen, plan.steps, rows)

        found = self._ran(key, launched, n_read or inputs.size, (*staging.memory, whole.rows(0)[0]), rows)
        return found if wanted is None else found[: len(wanted)]

    def joint(
        self, forward: Forward, inputs: JointInput, plan: Plan, wanted: Tensor | None, pool: CachePool | None
    ) -> Tensor | None:
        """Logits of several sequences, one after the other; None where the forward is to run as it is."""
        parts = inputs.parts
        seats = None if pool is None else _seats(parts, pool)
        size, count = max(part.n_rows for part in parts), power_of_two(len(parts))
        if pool is None or seats is None or size > MOST_QUERIES:
            return None
        padded = count * bucket(size)
        if padded > min(max(MOST_PADDED_ROWS, 2 * inputs.n_rows), QUERY_BUCKETS[-1]):
            return None
        # Where all rows are asked for, the padding's logits are made with them: so one graph serves however many these are.
        n_read = padded if wanted is None else power_of_two(len(wanted))
        shape = count, bucket(size), max(seat.queries.window for seat in seats)
        whole, length = pool.whole, power_of_two(inputs.length)
        staging = self._staging(*shape)
        staging.write(seats, whole.scratch_slot)
        # Rows asked for are counted along the sequences; where they stand in the padded forward is looked up on the device.
        asked = self._rows_read(staging, wanted, n_read)

        def launched() -> Tensor:
            given = ForwardInput(staging.token_ids, staging.positions, staging.rows, staging.mask(length), length)
            rows = staging.places if asked is None else staging.places.index_select(0, asked)
            seen = GatheredCache(whole, staging.bases, staging.lasts)
            return forward.logits(given, seen, plan.steps, rows)

        how: How = "joint" if wanted is None else "joint-wanted"
        key = self._key("logits", plan, whole, shape, length, n_read, how)
        found = self._ran(key, launched, n_read, (*staging.memory, whole.rows(0)[0]), asked)
        return found[: inputs.n_rows if wanted is None else len(wanted)]

    def _over_tensors(
        self,
        ends: Ends,
        forward: Forward,
        inputs: ForwardInput,
        cache: KVCache,
        plan: Plan,
        wanted: Tensor | None,
    ) -> Tensor | None:
        """Inputs that somebody made as tensors: copied to where a graph reads them."""
        batch, queries = inputs.token_ids.shape
        n_read = None if wanted is None else rows_bucket(len(wanted))
        if batch * queries > QUERY_BUCKETS[-1] or (n_read is None and wanted is not None):
            return None
        length = min(power_of_two(inputs.length), cache.capacity)
        shape = batch, queries, inputs.mask.shape[0], length
        if shape not in self._given:
            self._given[shape] = Given(*shape, self._dtype, self._device)
        given = self._given[shape]
        given.write(inputs)
        rows = self._rows_read(given, wanted, n_read)
        key = self._key(ends, plan, cache, (0, queries, inputs.mask.shape[0]), length, n_read or 0, batch=batch)
        found = self._ran(
            key,
            lambda: _ended(ends, forward, given.inputs, cache, plan.steps, rows),
            n_read or batch * queries,
            (*given.memory, cache.rows(0)[0]),
            rows,
        )
        return found if wanted is None else found[: len(wanted)]

    def _ran(
        self,
        key: Key,
        launched: Callable[[], Tensor],
        n_rows: int,
        memory: tuple[Tensor, ...],
        rows: Tensor | None,
    ) -> Tensor:
        """The result of a forward, in memory of its own size that forwards share."""
        size = key.ends, n_rows
        if size not in self._results:
            with torch.inference_mode(False):
                shape = n_rows, self._widths[key.ends]
                self._results[size] = torch.zeros(shape, dtype=self._dtype, device=self._device)
        result = self._results[size]

        def function() -> None:
            result.copy_(launched())

        self.store.run(key, function, (*memory, result) if rows is None else (*memory, result, rows))
        return result

    def _rows_read(self, place: Staging | Given, wanted: Tensor | None, n_read: int | None) -> Tensor | None:
        """Where a graph finds the rows to read; None for all."""
        if wanted is None or n_read is None:
            return None
        rows = place.wanted(n_read)
        rows[: len(wanted)].copy_(wanted)
        return rows

    def _staging(self, seats: int, queries: int, window: int) -> Staging:
        shape = seats, queries, window
        if shape not in self._stagings:
            self._stagings[shape] = Staging(*shape, self._dtype, self._device)
        return self._stagings[shape]

    def _key(
        self,
        ends: Ends,
        plan: Plan,
        cache: KVCache,
        shape: tuple[int, int, int],
        length: int,
        read: int,
        how: How = "single",
        batch: int = 1,
    ) -> Key:
        return Key(ends, plan.steps, plan.precision, self._number(cache), *shape, length, read, how, batch)

    def _number(self, cache: KVCache) -> int:
        """Tells caches apart, those that are gone too; with a cache its graphs go."""
        number = self._of_caches.get(cache)
        if number is None:
            number = self._of_caches[cache] = next(self._numbers)
            weakref.finalize(cache, self.store.discard, _of_memory(number)).atexit = False
        return number


def rows_bucket(n: int) -> int | None:
    """The rows that are read where `n` are asked for; None where these are more than a graph reads."""
    return bucket(max(n, 1)) if n <= QUERY_BUCKETS[-1] else None


def _ended(ends: Ends, forward: Forward, inputs: ForwardInput, cache: Any, steps: Steps, rows: Tensor | None) -> Tensor:
    return forward.hidden(inputs, cache, steps) if ends == "hidden" else forward.logits(inputs, cache, steps, rows)


def _seats(parts: Sequence[JointPart], pool: CachePool) -> list[Seat] | None:
    """Where the rows of each part stand; None where one is not of the pool, or was given as tensors."""
    seats = []
    for part in parts:
        base = pool.first_row(part.cache)
        if base is None or not isinstance(part.inputs, DeviceInput):
            return None
        seats.append(Seat(part.inputs.queries, part.n_rows, base, base + part.cache.capacity))
    return seats


def _of_memory(number: int) -> Callable[[Hashable], bool]:
    return lambda key: isinstance(key, Key) and key.memory == number
