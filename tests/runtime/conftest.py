"""What tests of the runtime share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(scope="module")
def without_gradients() -> Iterator[None]:
    """For modules that run forwards outside of a decoder."""
    with torch.inference_mode():
        yield
