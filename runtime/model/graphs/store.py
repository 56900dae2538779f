"""Graphs by what tells them apart: captured where a key comes again, given up where there are too many."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from casspec.runtime.model.graphs.runner import Graph, GraphRunner

_log = logging.getLogger("casspec")

MOST_GRAPHS = 128
"""Kept at once, unless said otherwise. A text of one method asks for a few dozen."""

MOST_SEEN = 4096
"""Keys remembered that came once."""


@dataclass(frozen=True, slots=True)
class _Kept:
    graph: Graph
    addresses: tuple[int, ...]


class GraphStore:
    """Runs functions over static memory: the first time as they are, from the second on as graphs.

    Args:
        most: graphs at once; most_bytes: what they may take in all, None for any. The one that ran last longest ago goes first.

    Attributes:
        captured, evicted: how many were, in all.
        is_broken: whether a capture failed; functions run as they are from then on, what was captured before stays.
    """

    def __init__(self, runner: GraphRunner, most: int = MOST_GRAPHS, most_bytes: int | None = None) -> None:
        self._runner, self._most, self._most_bytes = runner, most, most_bytes
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._discarded: deque[Callable[[Hashable], bool]] = deque()
        self.captured = self.evicted = 0
        self.is_broken = False

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def n_bytes(self) -> int:
        """Memory of the graphs."""
        return sum(kept.graph.n_bytes for kept in self._kept.values())

    @property
    def keys(self) -> list[Hashable]:
        """Of the graphs, those that ran last longest ago first."""
        return list(self._kept)

    def run(self, key: Hashable, function: Callable[[], None], memory: Sequence[Tensor]) -> None:
        """Runs `function`, or what it launched when it was captured for `key`.

        Args:
            memory: tensors outside of the function that it reads and writes; a graph goes on with those of its capture.

        Raises RuntimeError where a tensor does not stand where it stood.
        """
        while self._discarded:
            self._forget(self._discarded.popleft())
        kept = self._kept.get(key)
        if kept is None:
            if key in self._seen and not self.is_broken:
                kept = self._capture(key, function, memory)
            else:
                self._see(key)
        if kept is None:
            function()
            return
        self._kept.move_to_end(key)
        if kept.addresses != _addresses(memory):
            raise RuntimeError(
                "the memory of a captured forward has moved: its graph would read what is no longer there"
            )
        kept.graph.replay()

    def discard(self, which: Callable[[Hashable], bool]) -> None:
        """Has graphs given up before the next run. Any thread may ask."""
        self._discarded.append(which)

    def _capture(self, key: Hashable, function: Callable[[], None], memory: Sequence[Tensor]) -> _Kept | None:
        """None where that fails."""
        del self._seen[key]
        try:
            graph = self._runner.capture(function)
        except (
            RuntimeError
        ) as error:  # what torch raises for an operator that cannot be captured, and for memory that is not there
            self.is_broken = True
            _log.warning(
                "forwards are not captured as graphs any more (%s); they run kernel by kernel", _first_line(error)
            )
            return None
        kept = self._kept[key] = _Kept(graph, _addresses(memory))
        self.captured += 1
        while len(self._kept) > 1 and self._is_full():
            self._release(next(iter(self._kept)))
            self.evicted += 1
        return kept

    def _is_full(self) -> bool:
        return len(self._kept) > self._most or (self._most_bytes is not None and self.n_bytes > self._most_bytes)

    def _see(self, key: Hashable) -> None:
        self._seen[key] = None
        if len(self._seen) > MOST_SEEN:
            self._seen.popitem(last=False)

    def _forget(self, which: Callable[[Hashable], bool]) -> None:
        for key in [key for key in self._kept if which(key)]:
            self._release(key)
        for key in [key for key in self._seen if which(key)]:
            del self._seen[key]

    def _release(self, key: Hashable) -> None:
        self._kept.pop(key).graph.release()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _addresses(memory: Iterable[Tensor]) -> tuple[int, ...]:
    return tuple(tensor.data_ptr() for tensor in memory)
