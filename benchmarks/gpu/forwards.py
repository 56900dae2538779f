"""How forwards run: operator by operator, or as CUDA graphs that were captured once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from casspec.runtime.model.target import TargetModel

Forwards = Literal["eager", "graphs"]

HOLDER = "graphs"
"""Of a lean backend, what captures its forwards and replays them; None where nothing does."""


def graphs_refusal(target: TargetModel) -> str | None:
    """Why forwards of this model cannot run as CUDA graphs here, in one line; None where they can."""
    if target.device.type != "cuda":
        return f"CUDA graphs are of CUDA, and this is {target.device.type}"
    return None if _captures(target) is not None else "forwards of this model are not captured as CUDA graphs"


@contextmanager
def with_graphs(target: TargetModel, on: bool) -> Iterator[None]:
    """Runs the block's forwards as CUDA graphs where they can, or without. What was captured is kept."""
    captures = _captures(target)
    if on or captures is None:
        yield
        return
    setattr(target.lean, HOLDER, None)
    try:
        yield
    finally:
        setattr(target.lean, HOLDER, captures)


def available(target: TargetModel) -> list[Forwards]:
    """Ways that forwards of this model can run, the slowest first."""
    return ["eager"] if graphs_refusal(target) else ["eager", "graphs"]


def _captures(target: TargetModel) -> Any:
    return getattr(target.lean, HOLDER, None) if target.backend == "lean" else None
