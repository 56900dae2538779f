"""Models whose forwards are captured on a processor, as they are on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from casspec.runtime.model import inputs
from casspec.runtime.model.target import TargetModel
from tests.runtime.model.graphs.recording import RecordingGraphs, watched
from tests.runtime.tiny import library_model

MakeTarget = Callable[..., tuple[TargetModel, RecordingGraphs]]


@pytest.fixture
def captured(recorded: MakeTarget, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeTarget]:
    """Makes targets whose forwards are captured by a recorder, which is watched, and the recorder."""
    with watched(monkeypatch):
        yield recorded


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> MakeTarget:
    """The same, with nobody watching."""

    def make(family: str = "llama", seed: int = 7, bounds: dict[str, int] | None = None, **changes: Any) -> Any:
        target, runner = TargetModel(library_model(family, seed, **changes), name=f"tiny-{family}"), RecordingGraphs()
        target.lean.capture_with(lambda: runner, **bounds or {})
        return target, runner

    # Inputs as on a device: what is asked stays on the host until it is sent.
    begin = inputs.InputBuffers.__init__
    monkeypatch.setattr(inputs.InputBuffers, "__init__", lambda *given: begin(*given, on_host=False))
    return make
