"""A run as people and programs read it: tables, a page for `docs/results/`, a line of JSON. Both files are written after every figure."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.gpu.bars import held
from benchmarks.gpu.stages import Outcome, Row, told

JSON_SCHEMA = 1

TITLES = {
    "tests": "Tests that need a device",
    "ceilings": "Ceilings",
    "model": "Model",
    "warm-up": "Warm-up",
    "forwards": "Forwards by rows",
    "decoding": "Decoding",
    "batches": "Batches",
    "library": "transformers",
    "calibration": "Calibration",
    "calibrated": "Decoding with the profile",
    "library-compiled": "transformers, compiled",
}

COLUMNS: dict[str, tuple[str, str]] = {
    "bar": ("what", ""),
    "stage": ("stage", ""),
    "part": ("part", ""),
    "batch": ("batch", "d"),
    "mode": ("mode", ""),
    "method": ("method", ""),
    "forwards": ("forwards", ""),
    "passed": ("passed", "d"),
    "failed": ("failed", "d"),
    "skipped": ("skipped", "d"),
    "bandwidth_gb_per_s": ("bandwidth, GB/s", ",.1f"),
    "launch_us": ("launch, us", ".2f"),
    "float32": ("float32, TFLOP/s", ".4g"),
    "bfloat16": ("bfloat16, TFLOP/s", ".4g"),
    "float16": ("float16, TFLOP/s", ".4g"),
    "parameters": ("parameters, millions", ",.0f"),
    "layers": ("layers", "d"),
    "weights_gb": ("weights, GB", ".2f"),
    "token_bytes": ("bytes a cached token", ",d"),
    "backend": ("backend", ""),
    "dtype": ("dtype", ""),
    "rows": ("rows", "d"),
    "ms": ("ms", ".3f"),
    "tokens_per_s": ("tokens/s", ",.1f"),
    "spread": ("spread", ".1%"),
    "token_ms": ("ms a token", ".3f"),
    "over_one": ("over one row", ".2f"),
    "over_plain": ("over plain", ".2f"),
    "over_plain_spread": ("its spread", ".1%"),
    "least": ("least", ".2f"),
    "most": ("most", ".2f"),
    "of_bound": ("of the bound", ".1%"),
    "accepted": ("accepted", ".2f"),
    "forward_ms": ("forwards a step, ms", ".3f"),
    "overhead_us": ("overhead a step, us", ",.0f"),
    "overhead": ("overhead", ".1%"),
    "same_text": ("same text", ".0f"),
    "seconds": ("seconds", ".1f"),
    "measured": ("measured", ".3f"),
    "limit": ("limit", ""),
    "holds": ("holds", ""),
    "rounds": ("rounds", "d"),
    "prompts": ("prompts", "d"),
}
"""Figures that tables show, in their order: heading and format."""

LEGEND = (
    "Spread is half the range over the rounds, relative to the median; of forwards it is the interquartile range.",
    "The bound is what reading all weights and the text's cached rows takes at the measured bandwidth. A model that fits a processor's "
    "cache can exceed it.",
    "Over plain: time of plain decoding over time of the method for as many tokens, within a round, both by the same forwards. "
    "The library's is over our plain decoding.",
    "Accepted: tokens a verification.",
    "Overhead: of a step, all that is no forward. Forwards are timed by events of the device, from embedding to logits. Drawing tokens and "
    "waiting for them counts as overhead.",
    "Same text: new tokens until a text leaves that of plain decoding, median of prompts. Below float32 near ties flip.",
)


@dataclass
class Report:
    """A run, complete or not.

    Attributes:
        about: model, device, versions, date, command line, as JSON values.
        output: the page; its JSON stands beside it.
    """

    about: Mapping[str, Any]
    output: Path
    outcomes: Sequence[Outcome] = field(default_factory=list)

    @property
    def bars(self) -> list[Row]:
        return held({outcome.name: outcome.rows for outcome in self.outcomes})

    def write(self) -> None:
        """Both files, each whole at any moment. Raises OSError."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        for file, text in ((self.output, self.page()), (self.output.with_suffix(".json"), self.json() + "\n")):
            part = file.with_name(f".{file.name}.partial")
            try:
                part.write_text(text, encoding="utf-8")
                os.replace(part, file)
            finally:
                part.unlink(missing_ok=True)

    def tables(self) -> str:
        """Every stage under its name, in Markdown."""
        return "\n".join(line for outcome in self.outcomes for line in _section(outcome))

    def page(self) -> str:
        """For `docs/results/`."""
        about = self.about
        return "\n".join(
            [
                f"# {about['model']} on {about['device']}",
                "",
                f"    {about['command_line']}",
                "",
                f"* Machine: {about['device']}, {about['system']}.",
                f"* Software: {', '.join(f'{name} {version}' for name, version in about['versions'].items())}.",
                f"* Date: {about['date']}. Code: {about['commit']}.",
                f"* Requests: {about['prompts']} prompts of the suite {about['suite']}, {about['tokens']} new tokens each, past any end "
                f"of text; at most {about['rounds']} rounds.",
                *(f"* {line}" for line in LEGEND),
                "",
                *self.held_bars(),
                self.tables(),
            ]
        )

    def held_bars(self) -> list[str]:
        """What the figures are held against, as lines of Markdown; [] where there are none yet."""
        bars = self.bars
        return ["## Bars", "", *table(bars), ""] if bars else []

    def json(self) -> str:
        """One line."""
        stages = [asdict(outcome) for outcome in self.outcomes]
        return json.dumps({"schema": JSON_SCHEMA, "about": dict(self.about), "bars": self.bars, "stages": stages})


def _section(outcome: Outcome) -> list[str]:
    lines = [f"## {TITLES.get(outcome.name, outcome.name)}", ""]
    if outcome.rows:
        lines += [*table(outcome.rows), ""]
    lines.append(f"* {told(outcome)[0].upper()}{told(outcome)[1:]}.")
    return [*lines, *(f"* {note[0].upper()}{note[1:]}." for note in outcome.notes), ""]


def table(rows: Sequence[Row]) -> list[str]:
    """Lines of Markdown: the columns that any row has a figure for."""
    names = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    marks = ["--:" if COLUMNS[name][1] else "---" for name in names]
    return [
        _line([COLUMNS[name][0] for name in names]),
        _line(marks),
        *(_line([_cell(row.get(name), COLUMNS[name][1]) for name in names]) for row in rows),
    ]


def _cell(value: Any, shape: str) -> str:
    return "" if value is None else f"{value:{shape}}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
