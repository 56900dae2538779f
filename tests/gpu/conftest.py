"""Tests that need a CUDA device: kernels and events, half precision, CUDA graphs.

Run them by hand on a machine that has one, `python -m pytest tests/gpu` or `make bench`. Every test in this folder is
marked `gpu`; elsewhere they are skipped with the reason. Exactness across devices is compared in float32, as on the
CPU: in half precision different query lengths take different kernels, and near ties may flip.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if item.path.is_relative_to(HERE)]
    if not here:
        return
    reason = _why_not()
    for item in here:
        item.add_marker(pytest.mark.gpu)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def _why_not() -> str | None:
    try:
        import torch
    except ImportError:
        return "torch is not installed"
    return None if torch.cuda.is_available() else "needs a CUDA device, and torch finds none here"
