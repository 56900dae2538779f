"""How forwards run: operator by operator, or as CUDA graphs that were captured once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from casspec.runtime.model.target import TargetModel

Forwards = Literal["eager", "graphs"]


def graphs_refusal(target: TargetModel) -> str | None:
    """Why forwards of this model cannot run as CUDA graphs here, in one line; None where they can."""
    return "forwards of this release are not captured as CUDA graphs"


@contextmanager
def with_graphs(target: TargetModel, on: bool) -> Iterator[None]:
    """Runs the block's forwards as CUDA graphs, or without."""
    yield


def available(target: TargetModel) -> list[Forwards]:
    """Ways that forwards of this model can run, the slowest first."""
    return ["eager"] if graphs_refusal(target) else ["eager", "graphs"]
