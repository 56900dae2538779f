"""Which graphs are kept: those of keys that came twice, within bounds."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model.graphs import store as module
from casspec.runtime.model.graphs.store import GraphStore
from tests.runtime.model.graphs.recording import RecordedGraph, RecordingGraphs


class Counter:
    """A function over memory of its own."""

    def __init__(self) -> None:
        self.memory = torch.zeros(1)

    def __call__(self) -> None:
        self.memory.fill_(1)


def ran(store: GraphStore, *keys: str) -> Counter:
    function = Counter()
    for key in keys:
        store.run(key, function, [function.memory])
    return function


def test_a_key_is_captured_when_it_comes_again() -> None:
    runner = RecordingGraphs()
    store = GraphStore(runner)
    ran(store, "a", "b", "c")
    assert (len(store), runner.n_replays) == (0, 0)
    ran(store, "a", "b")
    assert (store.keys, store.captured, runner.n_replays) == (["a", "b"], 2, 2)


def test_a_graph_writes_where_its_function_wrote() -> None:
    store = GraphStore(RecordingGraphs())
    function = ran(store, "a", "a")
    function.memory.zero_()
    store.run("a", function, [function.memory])
    assert function.memory.item() == 1


@pytest.mark.parametrize("bounds", [{"most": 2}, {"most_bytes": 2500}])
def test_the_graph_that_ran_last_longest_ago_goes_first(bounds: dict[str, int]) -> None:
    runner = RecordingGraphs()
    store = GraphStore(runner, **bounds)
    a, b = ran(store, "a", "a"), ran(store, "b", "b")
    store.run("a", a, [a.memory])
    ran(store, "c", "c")
    assert (store.keys, store.evicted, store.n_bytes) == (["a", "c"], 1, 2000)
    assert [graph.is_live for graph in runner.graphs] == [True, False, True]
    store.run("b", b, [b.memory])
    assert store.keys == ["a", "c"]  # it has to come twice again


def test_one_graph_stays_whatever_it_takes() -> None:
    store = GraphStore(RecordingGraphs(), most_bytes=1)
    ran(store, "a", "a")
    assert store.keys == ["a"]


def test_where_a_capture_fails_functions_run_as_they_are_and_one_line_says_so(caplog: pytest.LogCaptureFixture) -> None:
    runner = RecordingGraphs()
    store = GraphStore(runner)
    ran(store, "a", "a")

    def fail(function: object) -> RecordedGraph:
        raise RuntimeError("operation not permitted when stream is capturing\nat line 3")

    runner.capture = fail  # type: ignore[method-assign]
    for key in "bc":
        assert ran(store, key, key, key).memory.item() == 1
    (line,) = caplog.messages
    assert "not permitted when stream is capturing);" in line
    assert "\n" not in line
    assert (store.keys, store.is_broken) == (["a"], True)


def test_memory_that_moved_is_refused() -> None:
    store = GraphStore(RecordingGraphs())
    ran(store, "a", "a")
    with pytest.raises(RuntimeError, match="moved"):
        ran(store, "a")


def test_what_is_discarded_goes_before_the_next_run() -> None:
    runner = RecordingGraphs()
    store = GraphStore(runner)
    ran(store, "a", "a")
    ran(store, "b", "b")
    ran(store, "c")
    store.discard(lambda key: key in ("a", "c"))
    assert store.keys == ["a", "b"]
    ran(store, "c")
    assert (store.keys, runner.n_released) == (["b"], 1)


def test_keys_that_came_once_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SEEN", 2)
    store = GraphStore(RecordingGraphs())
    ran(store, "a", "b", "c", "a")
    assert store.keys == []
    ran(store, "a")
    assert store.keys == ["a"]
