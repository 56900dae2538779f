"""Recordings that cascades are replayed on."""

from __future__ import annotations

import pytest

from casspec.tuner.recordings.recording import Recording
from tests.tuner.tiny import tiny_recordings, tiny_target


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    """Four prompts, every other one sampled, all of one task."""
    return tiny_recordings(tiny_target(), n=4, n_tokens=48)
