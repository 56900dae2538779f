"""One server for all tests that leave it as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.casspec.server.serving import Served, serving


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running
