"""Closed forms of the speedup give what the papers print."""

from __future__ import annotations

import pytest

from casspec.tuner import closed_forms


def test_walltime_formulas_give_the_published_values() -> None:
    assert closed_forms.speculative(0.8, 0.3, 3) == pytest.approx(1.5537, abs=1e-4)
    assert closed_forms.vertical(0.8, 0.3, 2, 0.4, 0.01, 3) == pytest.approx(1.8009, abs=1e-4)
    assert closed_forms.horizontal(0.9, 0.4, 2, 0.8, 0.3, 2) == pytest.approx(1.6152, abs=1e-4)
    best = max((closed_forms.speculative(0.9, 0.4, k), k) for k in range(1, 20))
    assert best == (pytest.approx(1.575, abs=1e-3), 4)
    assert closed_forms.chain([0.8] * 3, [0.3] * 3) == pytest.approx(closed_forms.speculative(0.8, 0.3, 3))
    assert closed_forms.best_chain([0.9**i for i in range(1, 9)], 0.4, lambda n: 1.0) == (4, best[0])
