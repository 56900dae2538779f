"""What is printed of other engines: results of searches, and benchmarks of endpoints."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from casspec.cli.console import output, print_table, say
from casspec.storage.engines.documents import EngineChoice, EngineResult

if TYPE_CHECKING:
    from casspec.tuner.engines.bench import Row

NO_BOUND = 1e6
"""An interval of one pair has none."""


def print_result(result: EngineResult, output_format: str) -> None:
    """To stdout: as JSON the document, else tables and the configuration as the last line."""
    if output_format == "json":
        click.echo(as_json(result.model_dump(mode="json"), indent=2))
        return
    subject = result.subject
    say(
        f"{subject.engine} {subject.engine_version}, {subject.model.name}{_form(subject.dtype)} on {subject.device.name}; "
        f"{subject.prompts} prompts of '{subject.suite}', tuning half, up to {subject.tokens} tokens"
    )
    _print_choices("best by requests at a time", result.choices)
    if result.configured and result.configured != result.choices:
        _print_choices("one configuration for all", result.configured)
    for line in (*result.notes, *result.refuses):
        say(line)
    click.echo("off" if result.configuration is None else json.dumps(result.configuration))


def _form(dtype: str) -> str:
    """How the model was served: nothing of its own dtype and form. A form is a file or directory with its hash."""
    name, _, form = dtype.partition(" of ")
    return (f" as {form}" if form else "") + ("" if name == "auto" else f" in {name}")


def _print_choices(title: str, choices: Sequence[EngineChoice]) -> None:
    output.print(f"[bold]{title}[/bold]")
    print_table(choices_table(choices))
    for name in dict.fromkeys(each.setting.name for each in choices):
        places = ", ".join(str(each.concurrency) for each in choices if each.setting.name == name)
        output.print(f"at {places}: {name}", markup=False, soft_wrap=True)


def choices_table(choices: Sequence[EngineChoice]) -> Table:
    """One row for each number of requests at a time."""
    table = Table(box=None, pad_edge=False)
    for heading in ("at a time", "gain", "90 % interval", "predicted", "tokens/s", "plain", "tokens a draft"):
        table.add_column(heading, justify="right", no_wrap=True)
    for each in choices:
        is_off = each.setting.is_off
        table.add_row(
            str(each.concurrency),
            "off" if is_off else f"{each.gain:.2f}x",
            "" if is_off else _interval(each),
            "" if each.predicted_gain is None else f"{each.predicted_gain:.2f}x",
            f"{each.tokens_per_second:.1f}",
            f"{each.plain_tokens_per_second:.1f}",
            "" if each.acceptance_length is None else f"{each.acceptance_length:.2f}",
        )
    return table


def results_table(results: Sequence[tuple[str, EngineResult]]) -> Table:
    """One row for each, as it was saved."""
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "engine", "model", "dtype", "device", "suite", "at a time", "gain", "configuration", "saved"):
        table.add_column(heading, no_wrap=heading in ("id", "saved"))
    for saved_at, result in results:
        subject = result.subject
        shown = result.configured or ()
        table.add_row(
            *map(
                Text,
                (
                    result.result_id,
                    f"{subject.engine} {subject.engine_version}",
                    subject.model.name,
                    subject.dtype,
                    subject.device.name,
                    subject.suite,
                    ",".join(map(str, subject.concurrency)),
                    ", ".join(f"{each.gain:.2f}x" for each in shown),
                    result.configured[0].setting.method if result.configured else "off",
                    saved_at[:16],
                ),
            )
        )
    return table


def bench_table(rows: Sequence[Row]) -> Table:
    """One row for each endpoint and number of requests at a time. Of times the middle and the 99th of 100."""
    table = Table(box=None, pad_edge=False)
    headings = (
        "at a time",
        "endpoint",
        "asked",
        "tokens/s",
        "versus first",
        "first token ms",
        "parts ms",
        "a draft",
        "accepted",
    )
    for heading in headings:
        is_endpoint = heading == "endpoint"
        table.add_column(heading, justify="left" if is_endpoint else "right", no_wrap=is_endpoint)
    for row in rows:
        table.add_row(
            str(row.concurrency),
            Text(row.url),
            str(row.requests),
            f"{row.tokens_per_second:.1f}",
            Text(_versus(row)),
            _pair(row.first_token_ms),
            _pair(row.gap_ms),
            "" if row.acceptance_length is None else f"{row.acceptance_length:.2f}",
            "" if row.acceptance_rate is None else f"{row.acceptance_rate:.0%}",
        )
    return table


def bench_json(rows: Sequence[Row]) -> str:
    """One line."""
    return as_json([asdict(row) for row in rows])


def results_json(results: Sequence[tuple[str, EngineResult]]) -> str:
    """An array: of each its ID, when it was saved, and the document."""
    told = [
        {"id": result.result_id, "saved_at": saved_at, "result": result.model_dump(mode="json")}
        for saved_at, result in results
    ]
    return as_json(told, indent=2)


def as_json(value: Any, indent: int | None = None) -> str:
    """What every reader of JSON takes: null for what is no finite number, as the bound of an interval of one pair."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(each) for name, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


def _versus(row: Row) -> str:
    if row.versus is None:
        return ""
    if not math.isfinite(row.versus.high):
        return f"{row.versus.middle:.2f}x (n=1)"
    return f"{row.versus.middle:.2f}x [{row.versus.low:.2f}, {row.versus.high:.2f}]"


def _pair(spot: tuple[float, float] | None) -> str:
    return "" if spot is None else f"{spot[0]:.1f} / {spot[1]:.1f}"


def _interval(choice: EngineChoice) -> str:
    if choice.high > NO_BOUND:
        return "of one pair none"
    return f"{choice.low:.2f} to {choice.high:.2f} (n={choice.pairs})"
