"""`casspec bench --batch`: methods with many texts at a time, as a table and a last line of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from casspec.cli.console import output, say

if TYPE_CHECKING:
    from casspec.runtime.loading.profiles import LoadedProfile
    from casspec.runtime.model.target import TargetModel
    from casspec.tuner.suites.prompts import Prompt

TEMPERATURE = 0.7
"""Of mode sample, as in calibrations."""


def race(
    target: TargetModel,
    profile: LoadedProfile | None,
    methods: Sequence[str],
    prompts: Sequence[Prompt],
    sizes: Sequence[int],
    mode: str,
    n_tokens: int,
    repeats: int,
    seed: int,
    peers: bool,
    json_file: Path | None,
) -> int:
    """Races and prints; 0."""
    from rich.table import Table

    from casspec.tuner.bench.batches import race_batches
    from casspec.tuner.environment import environment
    from casspec.tuner.suites.token_prompts import token_prompts, with_room

    asked = token_prompts(target, with_room(target, prompts, n_tokens))
    temperature = 0.0 if mode == "greedy" else TEMPERATURE
    rows = race_batches(target, profile, methods, asked, sizes, n_tokens, temperature, repeats, seed, peers, say)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("batch", "method", "tokens/s", "predicted", "over plain", "least-most", "over one", "ms/token"):
        table.add_column(name, justify="left" if name == "method" else "right", no_wrap=name == "method")
    for row in rows:
        table.add_row(
            str(row.batch),
            row.method,
            f"{row.tokens_per_s:,.1f}",
            "" if row.predicted is None else f"{row.predicted:,.1f}",
            f"{row.over_plain:.2f}x",
            f"{row.least:.2f}-{row.most:.2f}",
            f"{row.over_one:.2f}x",
            f"{row.token_ms:.1f}",
        )
    output.print(table)
    document = {
        "environment": environment(target),
        "mode": mode,
        "tokens": n_tokens,
        "rows": [row.model_dump(mode="json") for row in rows],
    }
    if json_file is not None:
        json_file.write_text(json.dumps(document, indent=2), encoding="utf-8")
    click.echo(json.dumps(document))
    return 0
