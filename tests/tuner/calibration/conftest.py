"""A finished calibration for the tests of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.storage.schema import CascadeProfile
from tests.tuner.small_calibration import StageLog, calibrate


@pytest.fixture(scope="module")
def finished(tmp_path_factory, with_mirror) -> tuple[Path, CascadeProfile]:
    """A database with one finished calibration, and its profile."""
    database = with_mirror(tmp_path_factory.mktemp("finished") / "casspec.db")
    return database, calibrate(str(database), StageLog())
