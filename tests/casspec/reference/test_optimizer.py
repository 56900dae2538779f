"""The learning rate over a training."""

from __future__ import annotations

import pytest

from casspec.reference.optimizer import learning_rate_factor


def test_learning_rate_rises_holds_and_falls():
    assert learning_rate_factor(0.0) == pytest.approx(0.02)
    assert learning_rate_factor(0.01) == pytest.approx(0.5)
    assert learning_rate_factor(0.3) == 1.0
    assert learning_rate_factor(0.75) == pytest.approx(0.51)
    assert learning_rate_factor(1.0) == pytest.approx(0.02)
