"""A race as people and programs read it: a Markdown table, a document for `docs/results/`, one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.peers.engines import SHIPPED, Row
from benchmarks.peers.figures import Figures

JSON_SCHEMA = 1
IDLE_LIMIT = 0.05
"""Share of a core that a waiting worker may take unnoticed."""

OF_MODE = ("best", "with prompt", "ratio")
HEADER = (
    *("engine", "precision", "method"),
    *("greedy, tokens/s", *OF_MODE),
    *("T = .7, tokens/s", *OF_MODE),
    *("first token, ms", "long prompt, ms", "memory, MiB", "same text"),
)
LEGEND = (
    "tokens/s: new tokens after the first over the time after the first, median of rounds; best: of the fastest round.",
    "with prompt: all new tokens over all the time.",
    "ratio: tokens/s over those of the reference row in the same round, median, and half the range over the median.",
    "first token: of greedy requests, median; long prompt: the same after about 1,000 tokens.",
    "memory: most resident memory of the worker and its processes, mapped weights included.",
    "same text: new tokens until the greedy text leaves the reference row's, median of prompts.",
)


@dataclass(frozen=True)
class Entrant:
    """What is known of a row beside its speeds."""

    about: str
    """The engine's own words: version, and what it runs with."""
    load_seconds: float
    install_seconds: float | None = None
    peak_bytes: int | None = None
    idle_load: float = 0.0
    """Share of one core that it took while others computed."""

    def told(self) -> str:
        """One line."""
        installed = f", installed in {self.install_seconds:.0f} s" if self.install_seconds is not None else ""
        return f"{self.about}; loaded in {self.load_seconds:.0f} s{installed}"


@dataclass(frozen=True)
class Report:
    """All there is to tell. `environment`: model, device, threads, versions, suite, date, command line, as JSON values."""

    figures: Sequence[Figures]
    entrants: Mapping[Row, Entrant]
    lost: Mapping[Row, str]
    reference: Row | None
    shipped: str
    """Precision of the file as published."""
    environment: Mapping[str, Any]
    interrupted: bool = False

    def table(self) -> str:
        """Markdown, a line a row."""
        lines = [_line(HEADER), _line(["---"] * 3 + ["--:"] * (len(HEADER) - 3))]
        lines += [_line(self._cells(each)) for each in self.figures]
        return "\n".join(lines)

    def remarks(self) -> list[str]:
        """What to know about the figures, a line each."""
        lines = [f"reference row: {self.reference.name}"] if self.reference else []
        if self.interrupted:
            lines.append("interrupted: rounds are incomplete; ratios count questions that both rows answered")
        lines += [f"{row.name}: {one.told()}" for row, one in self.entrants.items()]
        lines += [
            f"{row.name} took {one.idle_load:.0%} of a core while others computed: their figures suffer"
            for row, one in self.entrants.items()
            if one.idle_load > IDLE_LIMIT
        ]
        lines += [
            f"{each.row.name}: {each.short} answers hold fewer tokens than were asked for; real ones are counted"
            for each in self.figures
            if each.short
        ]
        lines += [
            f"{each.row.name}: its greedy text leaves the reference row's at once; it computes more coarsely or another model"
            for each in self.figures
            if each.agreement is not None and each.agreement < 1
        ]
        return lines + [f"without {row.name}: {reason}" for row, reason in self.lost.items()]

    def document(self) -> str:
        """A page of its own."""
        about = self.environment
        return "\n".join(
            [
                f"# Peers: {about['model']} on {about['device']}",
                "",
                f"    {about['command_line']}",
                "",
                f"* Machine: {about['device']}, {about['threads']} threads, {about['system']}.",
                f"* Date: {about['date']}. Code: {about['commit']}.",
                f"* Requests: {about['prompts']} prompts of the suite {about['suite']}, {about['tokens']} new tokens each, "
                f"{about['rounds']} rounds.",
                *(f"* {line[0].upper()}{line[1:]}" for line in LEGEND),
                "",
                self.table(),
                "",
                *(f"* {line}." for line in self.remarks()),
                "",
            ]
        )

    def json(self) -> str:
        """One line."""
        rows = [
            asdict(each) | {"precision": self._precision(each.row)} | asdict(self.entrants[each.row])
            for each in self.figures
            if each.row in self.entrants
        ]
        for row in rows:
            row |= {"engine": row["row"]["engine"], "method": row["row"]["method"], "row": Row(**row["row"]).name}
        missing = [{"row": row.name, "reason": reason} for row, reason in self.lost.items()]
        about = {**self.environment, "interrupted": self.interrupted}
        reference = self.reference.name if self.reference else None
        return json.dumps(
            {"schema": JSON_SCHEMA, "rows": rows, "missing": missing, "reference": reference, "environment": about}
        )

    def _cells(self, each: Figures) -> list[str]:
        cells = [each.row.engine, self._precision(each.row), each.row.method]
        for one in (each.greedy, each.sample):
            beside = (
                "" if one.ratio is None else f"{one.ratio:.2f}" + ("" if one.spread is None else f" ± {one.spread:.0%}")
            )
            cells += [_number(one.decode), _number(one.best_decode), _number(one.total), beside]
        entrant = self.entrants.get(each.row)
        peak = entrant.peak_bytes / 2**20 if entrant and entrant.peak_bytes else None
        return [
            *cells,
            _number(each.greedy.first_ms),
            _number(each.long_first_ms),
            _number(peak, 0),
            _number(each.agreement, 0),
        ]

    def _precision(self, row: Row) -> str:
        return self.shipped if row.precision == SHIPPED else row.precision


def _number(value: float | None, digits: int = 1) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
