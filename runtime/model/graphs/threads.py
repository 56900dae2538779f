"""The graphs of a model by thread: results stand in memory that the next forward writes over, so no two threads may share it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from casspec.runtime.model.forward_input import ForwardInput
from casspec.runtime.model.graphs.cache_pool import CachePool
from casspec.runtime.model.graphs.forwards import Forward, GraphedForwards, JointForward, Key
from casspec.runtime.model.graphs.runner import GraphRunner
from casspec.runtime.model.graphs.store import MOST_GRAPHS, GraphStore
from casspec.runtime.model.joint_input import JointInput
from casspec.runtime.model.kv_cache import KVCache
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import Precision

_launching = threading.RLock()
"""Held while a forward is launched or captured: no other forward is in flight where one is captured."""


class ThreadGraphs:
    """Runs forwards as graphs where that is sound, else as they are.

    Args:
        new_runner: makes what captures, once a thread.
        most, most_bytes: of graphs, as `GraphStore` has them; of each thread.

    Attributes:
        pool: whose pieces several sequences have; None before there is one.
        is_on: whether forwards are to run through it.
    """

    def __init__(
        self,
        new_runner: Callable[[], GraphRunner],
        hidden: int,
        vocab: int,
        dtype: torch.dtype,
        device: torch.device,
        most: int = MOST_GRAPHS,
        most_bytes: int | None = None,
    ) -> None:
        self._new_runner, self._bounds = new_runner, (most, most_bytes)
        self._sizes = hidden, vocab, dtype, device
        self._local = threading.local()
        self._all: weakref.WeakSet[GraphedForwards] = weakref.WeakSet()
        self.pool: CachePool | None = None
        self.is_on = True

    @property
    def mine(self) -> GraphedForwards:
        """Those of the calling thread."""
        found: GraphedForwards | None = getattr(self._local, "forwards", None)
        if found is None:
            found = self._local.forwards = GraphedForwards(GraphStore(self._new_runner(), *self._bounds), *self._sizes)
            self._all.add(found)
        return found

    def logits(
        self, forward: Forward, inputs: ForwardInput, cache: KVCache, plan: Plan, wanted: Tensor | None
    ) -> Tensor:
        """As of the forward; valid until the thread's next one."""
        with _launching:
            found = self.mine.single("logits", forward, inputs, cache, plan, wanted, self.pool)
            return forward.logits(inputs, cache, plan.steps, wanted) if found is None else found

    def hidden(self, forward: Forward, inputs: ForwardInput, cache: KVCache, plan: Plan) -> Tensor:
        """As of the forward; valid until the thread's next one."""
        with _launching:
            found = self.mine.single("hidden", forward, inputs, cache, plan, None, self.pool)
            return forward.hidden(inputs, cache, plan.steps) if found is None else found

    def joint_logits(self, forward: JointForward, inputs: JointInput, plan: Plan, wanted: Tensor | None) -> Tensor:
        """As of the forward; valid until the thread's next one."""
        with _launching:
            found = self.mine.joint(forward, inputs, plan, wanted, self.pool)
            return forward.joint_logits(inputs, plan.steps, wanted) if found is None else found

    def forget(self, precision: Precision) -> None:
        """Gives up graphs of a precision: its weights go."""
        for forwards in list(self._all):
            forwards.store.discard(_of(precision))


def _of(precision: Precision) -> Callable[[Hashable], bool]:
    return lambda key: isinstance(key, Key) and key.precision is precision
