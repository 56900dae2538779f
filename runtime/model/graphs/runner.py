"""Captures what a function launches, and launches it again as a whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

WARM_UPS = 2
"""Runs before a capture, in which libraries choose kernels and allocate what they keep."""


class Graph(Protocol):
    """What was captured.

    Attributes:
        n_bytes: memory that it took beside that of graphs captured before.
    """

    n_bytes: int

    def replay(self) -> None:
        """Launches it over the memory that it was captured over."""

    def release(self) -> None:
        """Gives it up, once the device has passed what was launched."""


class GraphRunner(Protocol):
    """Captures functions of one device, all in one thread."""

    def capture(self, function: Callable[[], None]) -> Graph:
        """Runs `function`, which reads and writes memory that stays where it is, and keeps what it launched.

        The function runs several times, so it must leave the same behind each time.
        """


class CudaGraphs:
    """Graphs of a CUDA device that share one memory pool: what one leaves there, another may write over.

    So a captured function copies its result to memory outside of the pool.

    Attributes:
        n_live: graphs that were captured and not given up.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool: Any = None
        self.n_live = 0

    def capture(self, function: Callable[[], None]) -> Graph:
        if self.n_live == 0:
            self._pool = torch.cuda.graph_pool_handle()  # torch destroys a pool with its last graph
        with torch.cuda.device(self._device):
            torch.cuda.synchronize()
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                for _ in range(WARM_UPS):
                    function()
            current.wait_stream(self._stream)
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            before, graph = torch.cuda.memory_reserved(), torch.cuda.CUDAGraph()
            # Other threads may go on with what is no forward, such as asking how much memory is free.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                function()
            self.n_live += 1
            return _CudaGraph(graph, self, torch.cuda.memory_reserved() - before)

    def released(self) -> None:
        """One of its graphs was."""
        self.n_live -= 1

    def wait(self) -> None:
        """Until the device has passed what was launched."""
        torch.cuda.synchronize(self._device)


class _CudaGraph:
    def __init__(self, graph: torch.cuda.CUDAGraph, runner: CudaGraphs, n_bytes: int) -> None:
        self._graph, self._runner, self.n_bytes = graph, runner, n_bytes

    def replay(self) -> None:
        self._graph.replay()

    def release(self) -> None:
        self._runner.wait()
        self._graph.reset()
        self._runner.released()
