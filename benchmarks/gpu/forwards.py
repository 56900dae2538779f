"""How forwards run: operator by operator, or as CUDA graphs that were captured once. What is asked of a model's graphs is asked here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from casspec.runtime.model.target import TargetModel

Forwards = Literal["eager", "graphs"]


@contextmanager
def with_graphs(target: TargetModel, on: bool) -> Iterator[None]:
    """Runs the block's forwards as CUDA graphs where they can, or without. What was captured is kept."""
    if target.graphs_refusal is not None:
        yield
        return
    with target.captured(on):
        yield


def available(target: TargetModel) -> list[Forwards]:
    """Ways that forwards of this model can run, the slowest first."""
    return ["eager"] if target.graphs_refusal else ["eager", "graphs"]


def captures(target: TargetModel) -> str:
    """What was captured so far, in one line."""
    refusal = target.graphs_refusal
    if refusal is not None:
        return f"without graphs: {refusal}"
    store = target.lean.graphs.mine.store
    told = f"graphs: {store.captured} captured, {store.evicted} given up, {store.n_bytes / 1e6:,.0f} MB"
    return f"{told}; a capture failed, and later forwards ran without" if store.is_broken else told
