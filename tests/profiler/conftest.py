"""The design that fits are tested on."""

from __future__ import annotations

import pytest

from casspec.profiler.design import Design, design
from tests.profiler.fakes import model_of


@pytest.fixture(scope="session")
def plan() -> Design:
    return design(model_of())
