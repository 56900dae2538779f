"""The page, the JSON and the tables of a run, complete or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.report import COLUMNS, LEGEND, Report, table
from benchmarks.gpu.stages import Outcome

ABOUT: dict[str, Any] = {
    "model": "testbed:320, 12 layers",
    "device": "a device",
    "system": "Linux",
    "versions": {"torch": "2"},
    "date": "2026-01-01",
    "commit": None,
    "command_line": "python -m benchmarks.gpu",
    "suite": "reference",
    "prompts": 1,
    "tokens": 8,
    "rounds": 2,
}


@pytest.fixture
def report(tmp_path: Path) -> Report:
    decoding = Outcome("decoding", "done", seconds=3.0, notes=["noise, sample: 1 %"])
    decoding.rows = [
        {"mode": "sample", "method": "autoregressive", "forwards": "eager", "tokens_per_s": 1234.5, "of_bound": 0.5}
    ]
    failed = Outcome("batches", "failed", "ValueError: no", 1.0, trace="all of it")
    return Report(ABOUT, tmp_path / "deep" / "gpu.md", [decoding, failed])


def test_page_and_json_stand_side_by_side_and_nothing_else(report: Report) -> None:
    report.write()
    report.write()
    assert {file.name for file in report.output.parent.iterdir()} == {"gpu.md", "gpu.json"}
    page = report.output.read_text("utf-8")
    assert page.startswith("# testbed:320, 12 layers on a device\n")
    assert "| sample | autoregressive | eager | 1,234.5 | 50.0% |" in page
    assert "* Done in 3.0 s." in page
    assert "* Noise, sample: 1 %." in page
    assert "* Failed in 1.0 s: ValueError: no." in page
    assert "all of it" not in page
    assert "## Bars" in page
    found = json.loads(report.output.with_suffix(".json").read_text("utf-8"))
    assert found["stages"][1]["trace"] == "all of it"
    assert found["bars"][0]["holds"] == "no"
    assert found["about"]["tokens"] == 8


def test_a_run_that_has_measured_nothing_has_a_page(tmp_path: Path) -> None:
    report = Report(ABOUT, tmp_path / "gpu.md", [Outcome("tests")])
    report.write()
    page = (tmp_path / "gpu.md").read_text("utf-8")
    assert "## Bars" not in page
    assert "* Waiting." in page


def test_a_table_has_the_columns_that_have_figures() -> None:
    lines = table([{"batch": 1, "tokens_per_s": 2.0, "spread": None}, {"batch": 2, "of_bound": 0.25}])
    assert lines[0] == "| batch | tokens/s | of the bound |"
    assert lines[2:] == ["| 1 | 2.0 |  |", "| 2 |  | 25.0% |"]


def test_every_heading_stands_once_and_the_legend_is_of_sentences() -> None:
    headings = [heading for heading, _ in COLUMNS.values()]
    assert len(set(headings)) == len(headings)
    assert all(line.endswith(".") for line in LEGEND)
