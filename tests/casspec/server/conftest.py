"""One server for all tests that leave it as it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from casspec.server.engines import Engines
from tests.casspec.server.serving import Served, serving


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps take as long as those of a larger model, so that things happen meanwhile, however busy the machine is."""
    step = Engines.step

    def slow(self: Engines) -> Any:
        time.sleep(0.01)
        return step(self)

    monkeypatch.setattr(Engines, "step", slow)
