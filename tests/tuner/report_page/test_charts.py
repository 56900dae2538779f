"""Charts of the page."""

from __future__ import annotations

import re

from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page import render_page
from tests.storage import samples
from tests.tuner.pages import Read, profile


def test_tasks_are_no_mathematics() -> None:
    tasks = (r"a $\frac$ b", "5 $")
    rows = tuple(samples.bench_row("dytc", task) for task in ("overall", *tasks))
    known = CalibrationHistory(profile(), reports=[samples.bench_report(rows=rows)])
    drawn = re.sub(r"&#39;|\s+", " ", Read(render_page(known)).text)
    for task in tasks:
        assert drawn.count(f"greedy, {task}") >= 2  # in the chart, and in the words for it
