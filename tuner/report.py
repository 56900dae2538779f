"""Benchmarks and losslessness checks as people and programs read them: a table, Markdown, CSV, one line of JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from casspec.storage.schema import BenchReport, BenchRow

if TYPE_CHECKING:
    from rich.table import Table

    from casspec.tuner.lossless_check import LosslessRow

JSON_SCHEMA = 1

NOISE_LIMIT = 0.03
"""Relative noise above which figures should be measured again."""

FIGURES = ("speedup", "accepted", "tokens/s", "overhead", "µs/step", "lossless")
"""Columns of a table; "accepted" is the mean acceptance length, "overhead" and "µs/step" the step time outside
forwards.
"""


def bench_table(report: BenchReport) -> Table:
    """Every method under every mode and task, "overall" last; narrow enough for 80 columns.

    Column "lossless" is a verdict in float32 (yes, NO); below it texts are compared, not judged (equal, N differ).
    """
    table = _table(
        ("method", *FIGURES), title="speedup over autoregressive decoding; methods as published unless tuned"
    )
    for (mode, task), rows in groupby(report.rows, key=lambda row: (row.mode, row.task)):
        table.add_row(f"[bold]{mode}, {task}[/bold]")
        for row in rows:
            table.add_row(_label(row), *_cells(row))
        table.add_section()
    return table


def bench_markdown(report: BenchReport) -> str:
    """The table as GitHub renders it."""
    columns = ("mode", "task", "method", "variant", *FIGURES)
    lines = [_markdown_line(columns), _markdown_line(["---"] * 4 + ["---:"] * len(FIGURES))]
    lines += [_markdown_line([row.mode, row.task, row.method, row.variant, *_cells(row)]) for row in report.rows]
    return "\n".join(lines)


def bench_csv(report: BenchReport) -> str:
    """One line a row with every field of `BenchRow`, and a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(BenchRow.model_fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump(mode="json") for row in report.rows)
    return text.getvalue().rstrip("\n")


def bench_json(report: BenchReport) -> str:
    """One line: schema number, rows, environment (with the noise and the time of the report)."""
    rows = [row.model_dump(mode="json") for row in report.rows]
    return _json_line(rows, report.environment | {"noise": report.noise, "created_at": report.created_at})


def noise_line(report: BenchReport) -> str:
    """What autoregressive decoding differed by from itself, and what to do about it."""
    line = f"noise {report.noise:.1%} (autoregressive measured twice)"
    return f"{line}: above {NOISE_LIMIT:.0%}, repeat on an idle machine" if report.noise > NOISE_LIMIT else line


def divergence_line(report: BenchReport) -> str | None:
    """Summary of texts that left the autoregressive one; None when all were equal."""
    found = report.environment.get("divergences", [])
    if not found:
        return None
    gaps = [entry["gap"] for entry in found if entry["gap"] is not None]
    widest = f", widest gap of log p~ + g {max(gaps):.2g} nats" if gaps else ""
    return f"{len(found)} texts leave the autoregressive one{widest}; the JSON lists them"


def lossless_table(rows: Sequence[LosslessRow]) -> Table:
    """The verdict on every method."""
    table = _table(("method", "mode", "tokens", "ties", "lossless"), title="equality with autoregressive decoding")
    for row in rows:
        verdict = "yes" if row.lossless else "NO"
        table.add_row(_label(row), row.mode, str(row.n_tokens), str(row.ties), verdict)
    return table


def lossless_markdown(rows: Sequence[LosslessRow]) -> str:
    """The verdicts as GitHub renders them."""
    lines = [_markdown_line(("method", "variant", "mode", "tokens", "ties", "lossless"))]
    lines.append(_markdown_line(["---"] * 3 + ["---:"] * 3))
    lines += [_markdown_line([str(value) for value in _verdict(row).values()]) for row in rows]
    return "\n".join(lines)


def lossless_csv(rows: Sequence[LosslessRow]) -> str:
    """The verdicts, one line each, and a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ("method", "variant", "mode", "n_tokens", "ties", "lossless"), lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_verdict, rows))
    return text.getvalue().rstrip("\n")


def lossless_json(rows: Sequence[LosslessRow], environment: dict[str, Any]) -> str:
    """One line, as of `bench_json`; every row lists its differences."""
    listed = [_verdict(row) | {"differences": [asdict(found) for found in row.differences]} for row in rows]
    return _json_line(listed, environment)


def _cells(row: BenchRow) -> list[str]:
    return [
        f"{row.speedup:.2f}x",
        f"{row.mean_acceptance_length:.2f}",
        f"{row.tokens_per_second:.1f}",
        f"{row.overhead_percent:.1f} %",
        f"{row.overhead_us_per_step:.0f}",
        _verdict_on(row),
    ]


def _verdict_on(row: BenchRow) -> str:
    """Below float32 nothing is judged: texts were equal, or so many differ."""
    if row.lossless is None:
        return f"{row.divergences} differ" if row.divergences else "equal"
    return "yes" if row.lossless else "NO"


def _label(row: BenchRow | LosslessRow) -> str:
    return f"{row.method} (tuned)" if row.variant == "tuned" else row.method


def _verdict(row: LosslessRow) -> dict[str, Any]:
    return {
        "method": row.method,
        "variant": row.variant,
        "mode": row.mode,
        "n_tokens": row.n_tokens,
        "ties": row.ties,
        "lossless": row.lossless,
    }


def _table(columns: Sequence[str], title: str) -> Table:
    """A plain table in which the first column gives way on a narrow terminal and figures line up at the right."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=place > 0, overflow="fold")
    return table


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _json_line(rows: list[dict[str, Any]], environment: dict[str, Any]) -> str:
    return json.dumps({"schema": JSON_SCHEMA, "rows": rows, "environment": environment})
