"""A database that something was saved in."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.storage import open_repository
from tests.storage import samples


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    file = tmp_path / "casspec.db"
    with open_repository(str(file)) as repository:
        repository.save_profile(None, samples.profile(seed=99))
    return file
