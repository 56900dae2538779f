"""The table, the document and the JSON."""

from __future__ import annotations

import json

from benchmarks.peers.engines import Row
from benchmarks.peers.figures import Figures, Speed
from benchmarks.peers.report import HEADER, Entrant, Report

SHIPPED, MISSING = Row("llama.cpp", "shipped", "plain"), Row("vllm", "bf16", "ngram")
ABOUT = {
    "model": "m", "device": "a processor", "threads": 2, "system": "Linux", "date": "2026-01-02", "commit": "abc",
    "command_line": "python -m benchmarks.peers", "prompts": 2, "suite": "chat", "tokens": 32, "rounds": 3,
}  # fmt: skip


def report(idle_load: float = 0.0, interrupted: bool = False, short: int = 0, agreement: float = 32.0) -> Report:
    greedy = Speed(80.04, 90.0, 60.0, 12.3, 1.5, 0.02, 3)
    row = Figures(SHIPPED, greedy, Speed(None, None, None, None, None, None, 0), None, agreement, short)
    entrant = Entrant("llama 1.2", 3.0, 985.0, 256 * 2**20, idle_load)
    return Report([row], {SHIPPED: entrant}, {MISSING: "no wheel"}, SHIPPED, "q4_1", ABOUT, interrupted)


def test_a_row_shows_figures_and_leaves_unmeasured_ones_empty() -> None:
    head, rule, line = report().table().splitlines()
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert len(cells) == len(HEADER) == head.count("|") - 1 == rule.count("|") - 1
    assert cells == [
        "llama.cpp",
        "q4_1",
        "plain",
        "80.0",
        "90.0",
        "60.0",
        "1.50 ± 2%",
        "",
        "",
        "",
        "",
        "12.3",
        "",
        "256",
        "32",
    ]


def test_remarks_name_what_is_missing_late_or_in_the_way() -> None:
    assert "without vllm/bf16/ngram: no wheel" in report().remarks()
    assert "llama.cpp/shipped/plain: llama 1.2; loaded in 3 s, installed in 985 s" in report().remarks()
    quiet = "\n".join(report().remarks())
    told = "\n".join(report(0.5, True, 2, 0.0).remarks())
    for words in ("50% of a core", "interrupted", "2 answers hold fewer tokens", "another model"):
        assert words not in quiet
        assert words in told


def test_the_document_names_machine_versions_date_and_command() -> None:
    text = report().document()
    for words in ("a processor", "llama 1.2", "2026-01-02", "    python -m benchmarks.peers", "| q4_1 |", "no wheel"):
        assert words in text


def test_the_json_is_one_line_with_rows_missing_and_environment() -> None:
    (line,) = report(interrupted=True).json().splitlines()
    found = json.loads(line)
    assert found["schema"] == 1
    assert found["rows"][0]["row"] == found["reference"] == "llama.cpp/shipped/plain"
    assert found["rows"][0]["precision"] == "q4_1"
    assert found["rows"][0]["greedy"]["decode"] == 80.04
    assert found["missing"] == [{"row": "vllm/bf16/ngram", "reason": "no wheel"}]
    assert found["environment"]["interrupted"]
