"""Graphs on a processor: a function is recorded operator by operator, and a replay runs these on the very same tensors.

As on CUDA nothing of Python runs at a replay: numbers stay those of the capture, memory stays where it was. `watched` compares, at
each replay, what the function would launch now with what was captured, and refuses memory that a forward asks for outside of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from casspec.runtime.model.graphs.store import GraphStore
from casspec.runtime.model.graphs.threads import ThreadGraphs
from casspec.runtime.model.target import TargetModel


@dataclass(slots=True)
class Call:
    """An operator that ran. It makes memory, writes to what is there, or only looks at it otherwise."""

    function: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    result: Any

    @property
    def given(self) -> list[Tensor]:
        return tensors_of((self.arguments, self.options))

    @property
    def writes(self) -> bool:
        return bool(self.function._schema.is_mutable)

    @property
    def made(self) -> list[Tensor]:
        """Results in memory of their own."""
        known = {memory_of(tensor) for tensor in self.given}
        return [tensor for tensor in tensors_of(self.result) if memory_of(tensor) not in known]

    def again(self) -> None:
        made = self.made
        if self.writes:
            self.function(*self.arguments, **self.options)
        elif made:
            fresh = tensors_of(self.function(*self.arguments, **self.options))
            for kept, new in zip(tensors_of(self.result), fresh, strict=True):
                if any(kept is one for one in made):
                    kept.copy_(new)


class Recorder(TorchDispatchMode):
    """Keeps the operators that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        self.calls.append(Call(func, args, kwargs or {}, result))
        return result


class RecordedGraph:
    """What ran of a function, and where what it was given lay."""

    n_bytes = 1000

    def __init__(self, calls: list[Call], runner: RecordingGraphs) -> None:
        self.calls, self._runner = calls, runner
        self.inputs, self.is_live = outside(calls), True

    def replay(self) -> None:
        assert self.is_live, "a graph that was given up is launched"
        self._runner.n_replays += 1
        with torch.inference_mode():
            for call in self.calls:
                call.again()

    def release(self) -> None:
        self.is_live = False
        self._runner.n_released += 1


@dataclass
class RecordingGraphs:
    """A runner of such graphs."""

    graphs: list[RecordedGraph] = field(default_factory=list)
    n_replays: int = 0
    n_released: int = 0

    def capture(self, function: Callable[[], None]) -> RecordedGraph:
        function()  # a runner may run it as often as it likes
        with Recorder() as recorder:
            function()
        self.graphs.append(RecordedGraph(recorder.calls, self))
        return self.graphs[-1]


class _Allocations(TorchDispatchMode):
    """Operators that make memory, outside of captured functions."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[str] = []
        self.is_inside = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs or {})
        if not self.is_inside and Call(func, args, kwargs or {}, result).made and not func._schema.is_mutable:
            self.made.append(str(func))
        return result


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails at a replay of a graph that reads other memory or other numbers than the function would now, or after a forward of a
    graph for which memory was made; and writes over what a forward gave, once the next one begins."""
    run, watch = GraphStore.run, _Allocations()

    def checked(store: GraphStore, key: Hashable, function: Callable[[], None], memory: Sequence[Tensor]) -> None:
        while store._discarded:
            store._forget(store._discarded.popleft())
        kept = store._kept.get(key)
        watch.is_inside = True
        try:
            if kept is None:
                run(store, key, function, memory)
                watch.made.clear()
                return
            with Recorder() as recorder:
                function()
            compare(kept.graph, recorder.calls)
            told = [tensor.clone() for tensor in memory]
            run(store, key, function, memory)
            same = [torch.equal(one, other) for one, other in zip(told, memory, strict=True) if one.is_floating_point()]
            assert all(same), f"a graph gives something else than its function: {key}"
        finally:
            watch.is_inside = False
        assert not watch.made, f"memory is made for a forward that a graph runs: {watch.made}"

    with monkeypatch.context() as patch:
        patch.setattr(GraphStore, "run", checked)
        for name in ("logits", "hidden", "joint_logits"):
            patch.setattr(ThreadGraphs, name, _under(watch, getattr(ThreadGraphs, name)))
        for name in ("forward", "hidden", "joint_forward"):
            patch.setattr(TargetModel, name, _spoiling(getattr(TargetModel, name)))
        _last.clear()
        yield


def compare(graph: Any, calls: list[Call]) -> None:
    """Raises AssertionError where a function would launch something else than what was captured, or on other memory."""
    assert [call.function for call in calls] == [call.function for call in graph.calls], "other operators"
    for now, then in zip(outside(calls), graph.inputs, strict=True):
        assert now == then, f"an input has moved: {then} at the capture, {now} now"
    for call, captured in zip(calls, graph.calls, strict=True):
        assert numbers_of(call) == numbers_of(captured), f"numbers of the host differ in {call.function}"


def outside(calls: Sequence[Call]) -> list[tuple[Any, ...]]:
    """Address, shape and strides of what operators are given that none of them made."""
    made = {memory_of(tensor) for call in calls for tensor in call.made}
    return [place_of(tensor) for call in calls for tensor in call.given if memory_of(tensor) not in made]


def numbers_of(call: Call) -> list[Any]:
    flat, _ = tree_flatten((call.arguments, call.options))
    return [value for value in flat if not isinstance(value, Tensor)]


def tensors_of(values: Any) -> list[Tensor]:
    flat, _ = tree_flatten(values)
    return [value for value in flat if isinstance(value, Tensor)]


def memory_of(tensor: Tensor) -> int:
    """What tells its memory apart; packed weights of torch show none."""
    return id(tensor) if tensor.is_mkldnn else tensor.untyped_storage()._cdata


def place_of(tensor: Tensor) -> tuple[Any, ...]:
    return (id(tensor),) if tensor.is_mkldnn else (tensor.data_ptr(), tensor.shape, tensor.stride())


def _under(watch: _Allocations, method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def watched_method(*arguments: Any) -> Tensor:
        watch.made.clear()
        with watch:
            return method(*arguments)

    return watched_method


_last: dict[int, Tensor] = {}


def _spoiling(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A forward after which what the last one gave is no longer there."""

    def spoiling(target: TargetModel, *arguments: Any, **options: Any) -> Tensor:
        if id(target) in _last:
            with torch.inference_mode():
                _last[id(target)].fill_(torch.nan)
        found = _last[id(target)] = method(target, *arguments, **options)
        return found

    return spoiling
