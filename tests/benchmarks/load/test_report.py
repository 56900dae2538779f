"""Tables, remarks, document, JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from benchmarks.load.figures import Figures, Middle, Spot
from benchmarks.load.guidellm import Check
from benchmarks.load.report import Entrant, Report

SPOT = Spot(10.0, 20.0)
ON = Figures(
    *("casspec", "sample", 4, 12),
    *(Middle(2.0, 0.01), Middle(128.04, 0.021)),
    *({"casspec-off": Middle(1.5, 0.02)}, SPOT, SPOT, SPOT, None, 2.5),
    *(0.02, 1.9, 0.0, 0, 0, 0),
)
OFF = replace(ON, server="casspec-off", ratios={}, tokens_a_step=None, failed=2, waiting_cpu=0.2, at_once=1)
ENVIRONMENT = {
    **{"model": "m", "device": "d", "threads": 2, "system": "s", "date": "2026-01-02", "commit": "c"},
    **{"command_line": "python -m benchmarks.serving", "suite": "chat", "prompts": 5, "tokens": 8, "rounds": 2},
    "loads": {4: 6},
}
CHECK = Check("casspec", 4, 6, 1, 100.0, SPOT, None, 0.3)


def report(interrupted: bool = False) -> Report:
    entrants = {"casspec": Entrant(3.0, 1 << 20)}
    return Report([ON, OFF], entrants, {"vllm": "no wheel"}, ENVIRONMENT, [CHECK], interrupted)


def test_a_row_has_a_cell_for_every_heading() -> None:
    lines = [line for line in report().tables().splitlines() if line.startswith("|")]
    header, _, on, off = lines[:4]
    assert header.count("|") == on.count("|") == off.count("|")
    assert "| 4 | casspec | 2.00 ± 1% | 128.0 ± 2% | 1.50 ± 2% |  |" in on
    assert lines[4].count("|") == lines[6].count("|")


def test_what_spoils_figures_is_said() -> None:
    said = "\n".join(report(interrupted=True).remarks())
    for words in (
        "interrupted",
        "2 of 12 requests failed",
        "1 of 6 requests of guidellm",
        "20% of a core",
        "1 answers came in one part",
        "no wheel",
    ):
        assert words in said
    assert "casspec: ready after 3 s, 1 MiB at most" in said


def test_the_document_says_how_it_was_made() -> None:
    page = report().document()
    assert page.startswith("# Serving: m on d\n")
    assert "    python -m benchmarks.serving" in page
    assert "6 by 4; 5 prompts of the suite chat" in page


def test_the_json_has_every_figure() -> None:
    found = json.loads(report().json())
    assert [row["server"] for row in found["rows"]] == ["casspec", "casspec-off"]
    assert found["rows"][0]["first_token"] == {"p50": 10.0, "p99": 20.0}
    assert found["checks"][0]["generator_cpu"] == 0.3
    assert found["missing"] == [{"server": "vllm", "reason": "no wheel"}]
