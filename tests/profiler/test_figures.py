"""Figures of a profile: every kind of point, the errors of the table, the ceilings."""

from __future__ import annotations

from pathlib import Path

import pytest

from casspec.profiler.figures import error_figure, fit_figure, roofline_figure
from casspec.profiler.profile import fitted_samples
from casspec.profiler.report import error_table
from tests.profiler.whole_profile import CEILINGS, Run


def test_the_figure_shows_every_kind_of_point(run: Run, tmp_path: Path) -> None:
    figure = fit_figure(run.samples, run.model)
    figure.savefig(tmp_path / "fit.png")
    labels = {text.get_text() for text in figure.axes[0].get_legend().get_texts()}
    assert labels == {"attention", "mlp", "drafter", "forward"}


def test_figures_show_errors_by_group_and_the_ceilings(run: Run, tmp_path: Path) -> None:
    errors = error_figure(run.samples, run.model)
    errors.savefig(tmp_path / "errors.png")
    names = [label.get_text() for label in errors.axes[0].get_yticklabels()]
    assert {name.split()[0].rstrip(":") for name in names} == {"plan", "tokens", "context"}
    roofline = roofline_figure(run.samples, run.model)
    roofline.savefig(tmp_path / "roofline.png")
    ceiling = next(line for line in roofline.axes[0].get_lines() if line.get_label() == "ceilings")
    assert max(ceiling.get_ydata()) == pytest.approx(1e3 * CEILINGS.matmul_tflops["float32"])


def test_the_figure_of_errors_says_what_the_table_says(run: Run) -> None:
    figure = error_figure(fitted_samples(run.samples, run.plan), run.model, seed=3)
    bars = [bar.get_width() / 100 for bar in figure.axes[0].patches]
    rows = error_table(run.samples, run.model, run.plan, seed=3)
    assert bars == pytest.approx([row.median_error for row in rows if row.group.split()[0] != "all,"][: len(bars)])
    assert len(bars) == len(rows) - 2
