"""Charts of the page."""

from __future__ import annotations

import re

from casspec.tuner.bench.predicted_vs_measured import Compared
from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page import render_page
from casspec.tuner.report_page.charts import gap_figure, history_figure, overall_figure
from tests.storage import samples
from tests.tuner.report_page.pages import Read, profile


def test_tasks_are_no_mathematics() -> None:
    tasks = (r"a $\frac$ b", "5 $")
    rows = tuple(samples.bench_row("dytc", task) for task in ("overall", *tasks))
    known = CalibrationHistory(profile(), reports=[samples.bench_report(rows=rows)])
    drawn = re.sub(r"&#39;|\s+", " ", Read(render_page(known)).text)
    for task in tasks:
        assert drawn.count(f"greedy, {task}") >= 2  # in the chart, and in the words for it


def test_a_gap_is_drawn_between_what_was_promised_of_the_prompts_and_what_was_measured() -> None:
    rows = [
        Compared("greedy", "overall", predicted=2.0, measured=1.5, replayed=1.6),
        Compared("greedy", "qa", predicted=1.4, measured=1.2),
        Compared("sample", "overall", predicted=1.3, measured=None),
    ]
    (axes,) = gap_figure(rows).axes
    joins = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines if line.get_zorder() == 1]
    assert joins == [([1.6, 1.5], [0, 0]), ([1.4, 1.2], [1, 1])]
    drawn = {points.get_label(): points.get_offsets().tolist() for points in axes.collections}
    assert drawn == {
        "predicted": [[2.0, 0], [1.4, 1], [1.3, 2]],
        "replayed": [[1.6, 0]],
        "measured": [[1.5, 0], [1.2, 1]],
    }


def test_the_search_is_drawn_in_order_with_a_front_that_only_grows() -> None:
    candidates = [
        samples.candidate((layer,), acceptance=acceptance, source=source).model_copy(update={"cost": cost})
        for layer, (source, acceptance, cost) in enumerate(
            [("uniform", 0.5, 0.5), ("tpe", 0.4, 0.6), ("tpe", 0.7, 0.4), ("import:mine", 0.9, 0.9)], start=1
        )
    ]
    above, below = history_figure(candidates).axes
    (line,) = above.lines
    volumes = list(line.get_ydata())
    assert volumes == sorted(volumes)
    assert (volumes[0], volumes[1]) == (0.25, 0.25), "the second one is dominated"
    drawn = {points.get_label(): points.get_offsets().tolist() for points in below.collections}
    assert drawn["tpe"] == [[2, 0.4], [3, 0.7]]
    assert drawn["front"] == [[3, 0.7], [4, 0.9]]


def test_the_chart_of_a_mode_is_of_all_tasks_together() -> None:
    rows = tuple(
        samples.bench_row("dytc", task, mode=mode) for task in ("qa", "overall") for mode in ("greedy", "sample")
    )
    (axes,) = overall_figure(samples.bench_report(rows=rows), "sample").axes
    assert len(axes.patches) == 1
