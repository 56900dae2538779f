"""A profile of the tiny model."""

from __future__ import annotations

import pytest

from casspec.storage.schema import CascadeProfile
from tests.runtime.tiny import tiny_profile
from tests.tuner.tiny_replay import TARGET


@pytest.fixture(scope="module")
def profile() -> CascadeProfile:
    document = tiny_profile(TARGET).document
    assert document is not None
    return document
