"""A store with a queue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casspec.storage import open_repository
from casspec.storage.repository import Repository


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return str(tmp_path / "casspec.db")


@pytest.fixture
def repository(storage: str) -> Iterator[Repository]:
    with open_repository(storage) as repository:
        yield repository
