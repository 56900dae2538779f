"""The errors that a profile reports."""

from __future__ import annotations

from statistics import median

import pytest

from casspec.profiler.design import Design
from casspec.profiler.fit.regression import relative_errors
from casspec.profiler.report import cross_validated, error_table
from casspec.storage.schema import LatencyModel
from tests.profiler.fakes import samples_of, uneven_ms
from tests.profiler.whole_profile import Run


def test_cross_validated_errors_tell_of_every_whole_forward(plan: Design, uneven: LatencyModel) -> None:
    samples = samples_of(plan.fitted, uneven_ms)
    known = cross_validated(samples, uneven)
    assert [entry.sample for entry in known] == [s for s in samples if s.point.subject in ("drafter", "forward")]
    errors = relative_errors([entry.sample for entry in known], [entry.predicted_ms for entry in known])
    assert [entry.error for entry in known] == pytest.approx(errors)
    assert median(errors) == pytest.approx(uneven.cv_median_error)


def test_the_error_table_of_a_real_run_is_finite(run: Run) -> None:
    rows = error_table(run.samples, run.model, run.plan)
    assert all(0 <= row.median_error <= row.p90_error < 100 for row in rows)
