"""The ways that forwards can run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.gpu.forwards import available, captures, with_graphs
from casspec.runtime.decode import Decoder
from casspec.runtime.model.target import TargetModel


class Captured:
    """A model whose forwards can be captured, as far as the switch looks."""

    graphs_refusal = None

    def __init__(self) -> None:
        self.switched: list[bool] = []
        self.store = SimpleNamespace(captured=7, evicted=1, n_bytes=3_000_000, is_broken=False)
        self.lean = SimpleNamespace(graphs=SimpleNamespace(mine=SimpleNamespace(store=self.store)))

    @contextmanager
    def captured(self, on: bool) -> Iterator[None]:
        self.switched.append(on)
        yield


@pytest.fixture
def captured() -> Any:
    return Captured()


def test_a_processor_has_no_graphs_and_says_so(target: TargetModel) -> None:
    assert target.graphs_refusal
    assert available(target) == ["eager"]
    assert captures(target) == f"without graphs: {target.graphs_refusal}"


def test_a_model_whose_forwards_are_captured_runs_both_ways(captured: Any) -> None:
    assert available(captured) == ["eager", "graphs"]
    for on in (True, False):
        with with_graphs(captured, on):
            pass
    assert captured.switched == [True, False]


def test_what_was_captured_is_told(captured: Any) -> None:
    assert captures(captured) == "graphs: 7 captured, 1 given up, 3 MB"
    captured.store.is_broken = True
    assert captures(captured).endswith("a capture failed, and later forwards ran without")


def test_the_switch_changes_no_text(target: TargetModel) -> None:
    texts = []
    for on in (False, True):
        with with_graphs(target, on):
            texts.append(Decoder(target).generate([1, 2, 3], 12).token_ids)
    assert texts[0] == texts[1]
