"""Benchmarks and losslessness checks as people and programs read them: a table, Markdown, CSV, one line of JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from casspec.storage.schema import BenchReport, BenchRow, Mode
from casspec.tuner.suites.files.rows import counted
from casspec.tuner.suites.repetition import MAX_REPETITION

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

    from casspec.tuner.bench.lossless.check import LosslessRow

JSON_SCHEMA = 1

NOISE_LIMIT = 0.03
"""Relative noise above which figures should be measured again."""

FIGURES: dict[str, Callable[[BenchRow], str]] = {
    "speedup": lambda row: f"{row.speedup:.2f}x",
    "+prefill": lambda row: f"{row.speedup_with_prefill:.2f}x",
    "specbench": lambda row: f"{row.speedup_specbench:.2f}x",
    "spread": lambda row: f"{row.spread:.1%}",
    "accepted": lambda row: f"{row.mean_acceptance_length:.2f}",
    "rate": lambda row: f"{row.acceptance_rate:.2f}",
    "nodes": lambda row: f"{row.tree_nodes:.1f}",
    "tokens/s": lambda row: f"{row.tokens_per_second:.1f}",
    "overhead": lambda row: f"{row.overhead_percent:.1f} %",
    "µs/step": lambda row: f"{row.overhead_us_per_step:.0f}",
    "lossless": lambda row: _verdict_on(row),
}
"""Columns of a table. "+prefill" and "specbench" are speedups with the prefill and as Spec-Bench counts; "accepted" is
the mean acceptance length, "rate" the draft acceptance rate, "nodes" those of the mean tree; "overhead" and "µs/step"
are the step time outside forwards.
"""

NARROW_FIGURES = ("speedup", "accepted", "tokens/s", "overhead", "µs/step", "lossless")
WIDE_COLUMNS = 120
SHORTEST_NAME = 12
"""Columns that a method's name is folded into at worst."""


def bench_table(report: BenchReport) -> BenchTable:
    """Every method under every mode and task, "overall" last, for `rich` to print.

    Column "lossless" is a verdict in float32 (yes, NO); below it texts are compared, not judged (equal, N differ).
    """
    return BenchTable(report)


@dataclass(frozen=True)
class BenchTable:
    """Shows every figure where 120 columns are free, the most important ones elsewhere."""

    report: BenchReport

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text | Table]:
        from rich.text import Text

        names = tuple(FIGURES) if options.max_width >= WIDE_COLUMNS else NARROW_FIGURES
        rows = self.report.rows
        cells = [[label(row), *(FIGURES[name](row) for name in names)] for row in rows]
        widths = [max(map(len, column)) for column in zip(("method", *names), *cells, strict=True)]
        yield Text(f"speedup over autoregressive decoding: {caption(self.report)}", style="italic")
        pairs = zip(rows, cells, strict=True)
        for (mode, task), of_task in groupby(pairs, key=lambda pair: (pair[0].mode, pair[0].task)):
            first, _ = pair = next(of_task)
            counts = f"{first.n_prompts} prompts, {first.n_tokens} tokens, repetition {first.repetition:.1%}"
            yield Text(f"\n{mode}, {task}: {counts}", style="bold")
            table = _table(("method", *names), widths=widths)
            for _, row in (pair, *of_task):
                table.add_row(*row)
            yield table


def caption(report: BenchReport, mode: Mode | None = None) -> str:
    """What the figures of a mode, or of all, hold for: model, device, threads, precision, and the temperature where it matters."""
    about = report.environment
    device, threads = about.get("device", {}), about.get("threads")
    modes = {row.mode for row in report.rows} if mode is None else {mode}
    sampled = "sample" in modes and "temperature" in about
    words = [
        about.get("model", {}).get("name"),
        device.get("name"),
        f"{threads} thread{'s' if threads != 1 else ''}" if device.get("kind") == "cpu" else None,
        about.get("dtype"),
        f"sampling at temperature {about['temperature']}" if sampled else None,
        "warm drafters" if about.get("warm") else None,
    ]
    return ", ".join(word for word in words if word)


def repetition_line(report: BenchReport) -> str:
    """The rule by which loops are told, and by which the reference suite goes without them."""
    line = "repetition is the share of generated 8-grams that repeat the output itself; loops flatter copying"
    if report.environment.get("suite") != "reference":
        return line
    return f"{line}, so that the reference suite has no prompt whose greedy text repeats more than {MAX_REPETITION:.0%}"


def bench_markdown(report: BenchReport) -> str:
    """The table as GitHub renders it, with every figure and the repetition of the text."""
    columns = ("mode", "task", "method", "variant", *FIGURES, "repetition")
    lines = [_markdown_line(columns), _markdown_line(["---"] * 4 + ["---:"] * (len(FIGURES) + 1))]
    for row in report.rows:
        figures = [figure(row) for figure in FIGURES.values()]
        lines.append(_markdown_line([row.mode, row.task, row.method, row.variant, *figures, f"{row.repetition:.1%}"]))
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


def remarks(report: BenchReport) -> list[str]:
    """What to know about the figures, a line each."""
    about = report.environment
    lines = []
    if about.get("interrupted"):
        lines.append("interrupted: the rows hold the prompts that every method had finished")
    if left_out := about.get("prompts_left_out"):
        lines.append(
            f"{len(left_out)} prompts leave no room for {about['max_new_tokens']} new tokens in the model's context and "
            "are left out; the JSON names them"
        )
    if cut := about.get("prompts_cut"):
        lines.append(
            f"cut at the front, to leave room for {about['max_new_tokens']} new tokens: {counted(len(cut), 'prompt')}; "
            "the JSON names them"
        )
    if turns := about.get("turns_left_out"):
        lines.append(
            f"{len(turns)} later turns of conversations leave no room either, for they quote what was said before"
        )
    lines += [noise_line(report), repetition_line(report)]
    if line := divergence_line(report):
        lines.append(line)
    if all(row.lossless is None for row in report.rows):
        lines.append(
            f"in {about.get('dtype', 'this precision')} texts are compared, not judged: near ties fall either way; "
            "casspec bench --check-lossless judges them in float32"
        )
    return lines


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
    if units := [entry["units"] for entry in found if entry.get("units") is not None]:
        widest += f" ({max(units):.1f} units in the last place)"
    first = min(entry["place"] for entry in found)
    return (
        f"{len(found)} texts leave the autoregressive one, the first after {first} tokens{widest}; the JSON lists them"
    )


def label(row: BenchRow | LosslessRow) -> str:
    """How tables and charts name a method: as published, or by an outside implementation, unless it says otherwise."""
    return row.method if row.variant in ("published", "peer") else f"{row.method} ({row.variant})"


def lossless_table(rows: Sequence[LosslessRow]) -> Table:
    """The verdict on every method."""
    table = _table(("method", "mode", "tokens", "ties", "lossless"), title="equality with autoregressive decoding")
    for row in rows:
        verdict = "yes" if row.lossless else "NO"
        table.add_row(label(row), row.mode, str(row.n_tokens), str(row.ties), verdict)
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


def _verdict_on(row: BenchRow) -> str:
    """Below float32 nothing is judged: texts were equal, or so many differ."""
    if row.lossless is None:
        return f"{row.divergences} differ" if row.divergences else "equal"
    return "yes" if row.lossless else "NO"


def _verdict(row: LosslessRow) -> dict[str, Any]:
    return {
        "method": row.method,
        "variant": row.variant,
        "mode": row.mode,
        "n_tokens": row.n_tokens,
        "ties": row.ties,
        "lossless": row.lossless,
    }


def _table(columns: Sequence[str], title: str | None = None, widths: Sequence[int] | None = None) -> Table:
    """A plain table in which the first column gives way on a narrow terminal and figures line up at the right."""
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(columns):
        width = (widths[place] if place else SHORTEST_NAME) if widths else None
        table.add_column(
            column, justify="right" if place else "left", no_wrap=place > 0, overflow="fold", min_width=width
        )
    return table


def _markdown_line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _json_line(rows: list[dict[str, Any]], environment: dict[str, Any]) -> str:
    return json.dumps({"schema": JSON_SCHEMA, "rows": rows, "environment": environment})
