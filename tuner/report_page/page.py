"""Puts the sections together and lays them out with the template beside this file."""

from __future__ import annotations

from pathlib import Path

from casspec.tuner.calibration_history import CalibrationHistory
from casspec.tuner.report_page.evidence import bench_section, latency_section, origin_section, search_section
from casspec.tuner.report_page.outcome import cascade_section, decision_section, highlights, speedup_section

FOLDER = Path(__file__).parent


def render_page(calibrated: CalibrationHistory) -> str:
    """A whole HTML document with style and figures in it."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    sections = [
        decision_section(calibrated),
        speedup_section(calibrated),
        cascade_section(calibrated),
        search_section(calibrated),
        latency_section(calibrated),
        *(bench_section(report) for report in calibrated.newest_reports),
        origin_section(calibrated),
    ]
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        profile=calibrated.profile,
        title=calibrated.name,
        highlights=highlights(calibrated),
        sections=[section for section in sections if section is not None],
        style=(FOLDER / "page.css").read_text("utf-8"),
    )
