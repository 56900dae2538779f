"""How a function is captured on CUDA: run on another stream first, then captured there; the real thing is tried in tests/gpu."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from casspec.runtime.model.graphs import runner
from casspec.runtime.model.graphs.runner import CudaGraphs


class Stream:
    def __init__(self, log: list[str], name: str) -> None:
        self._log, self._name = log, name

    def wait_stream(self, other: Stream) -> None:
        self._log.append(f"{self._name} waits for {other._name}")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of torch.cuda, in order."""
    said: list[str] = []
    reserved = iter((100, 250, 250, 260, 260, 300))

    class Graph:
        def replay(self) -> None:
            said.append("replay")

        def reset(self) -> None:
            said.append("reset")

    def capture(graph: Any, pool: Any, stream: Any, capture_error_mode: str) -> AbstractContextManager[None]:
        said.append(f"capture in {pool}, {capture_error_mode}")
        return nullcontext()

    pools = iter(("pool 1", "pool 2"))
    cuda = SimpleNamespace(
        graph_pool_handle=lambda: next(pools),
        Stream=lambda device: Stream(said, "side"),
        current_stream=lambda: Stream(said, "current"),
        device=lambda device: nullcontext(),
        stream=lambda stream: nullcontext(),
        synchronize=lambda *device: said.append("synchronize"),
        empty_cache=lambda: None,
        memory_reserved=lambda: next(reserved),
        CUDAGraph=Graph,
        graph=capture,
    )
    monkeypatch.setattr(runner, "torch", SimpleNamespace(cuda=cuda))
    return said


def test_a_function_warms_up_on_another_stream_before_it_is_captured(log: list[str]) -> None:
    graph = CudaGraphs(torch.device("cuda", 0)).capture(lambda: log.append("run"))
    assert log == [
        "synchronize",
        "side waits for current",
        *["run"] * runner.WARM_UPS,
        "current waits for side",
        "synchronize",
        "capture in pool 1, thread_local",
        "run",
    ]
    graph.replay()
    assert (log[-1], graph.n_bytes) == ("replay", 150)


def test_graphs_share_a_pool_until_the_last_is_given_up(log: list[str]) -> None:
    graphs = CudaGraphs(torch.device("cuda", 0))
    both = [graphs.capture(lambda: None) for _ in range(2)]
    for graph in both:
        graph.release()
    assert log[-2:] == ["synchronize", "reset"]
    graphs.capture(lambda: None)
    assert [line for line in log if line.startswith("capture")] == [
        *["capture in pool 1, thread_local"] * 2,
        "capture in pool 2, thread_local",
    ]
