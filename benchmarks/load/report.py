"""A load test as people and programs read it: Markdown tables, a document for `docs/results/`, one line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.load.figures import Figures, Middle, Spot
from benchmarks.load.guidellm import Check

JSON_SCHEMA = 1
WAITING_LIMIT = 0.05
"""Share of a core that servers may take unnoticed while another is asked."""

TITLES = {"greedy": "Greedy", "sample": "T = .7"}
HEADER = (
    *("clients", "server", "requests/s", "tokens/s", "over off", "over vllm", "first token p50", "p99"),
    *("inter-token p50", "p99", "gap p50", "p99", "request p50", "tokens a step", "client CPU"),
)
CHECK_HEADER = ("clients", "server", "tokens/s", "first token p50", "p99", "inter-token p50", "p99", "generator CPU")
LEGEND = (
    "clients: each asks its next when its last is answered.",
    "requests/s, tokens/s: from the first request to the last answer, median of rounds, and half the range over the median.",
    "over off, over vllm: tokens/s over those of that server in the same round.",
    "first token, inter-token, gap, request: ms, of the requests of all rounds.",
    "inter-token: from a request's first part to its last, over the tokens that came after the first part; gap: between parts of a "
    "stream, which hold one token or several; request: until its last part.",
    "tokens a step: where the server tells.",
    "client CPU: processor time of the load generator over wall time, 1 is one core.",
)


@dataclass(frozen=True)
class Entrant:
    """What is known of a server beside its figures."""

    load_seconds: float
    peak_bytes: int | None


@dataclass(frozen=True)
class Report:
    """All there is to tell. `environment`: model, device, threads, versions, suite, date, command line, as JSON values."""

    figures: Sequence[Figures]
    entrants: Mapping[str, Entrant]
    lost: Mapping[str, str]
    environment: Mapping[str, Any]
    checks: Sequence[Check] = field(default_factory=list)
    interrupted: bool = False

    def tables(self) -> str:
        """One of every mode, and what the other generator says where it was asked."""
        modes = dict.fromkeys(each.mode for each in self.figures)
        parts = []
        for mode in modes:
            rows = [_cells(each) for each in self.figures if each.mode == mode]
            parts += [f"## {TITLES[mode]}", "", *_table(HEADER, rows), ""]
        if self.checks:
            parts += [
                "## The same servers under guidellm",
                "",
                *_table(CHECK_HEADER, map(_check_cells, self.checks)),
                "",
            ]
        return "\n".join(parts)

    def remarks(self) -> list[str]:
        """What to know about the figures, a line each."""
        lines = ["interrupted: rounds are incomplete"] if self.interrupted else []
        for name, one in self.entrants.items():
            memory = "" if one.peak_bytes is None else f", {one.peak_bytes / 2**20:.0f} MiB at most"
            lines.append(f"{name}: ready after {one.load_seconds:.0f} s{memory}")
        for each in self.figures:
            where = f"{each.server}, {each.mode}, {each.clients} clients"
            if each.failed:
                lines.append(f"{where}: {each.failed} of {each.requests} requests failed")
            if each.short:
                lines.append(
                    f"{where}: {each.short} answers hold fewer tokens than were asked for; real ones are counted"
                )
            if each.at_once:
                lines.append(f"{where}: {each.at_once} answers came in one part and have no inter-token latency")
            if each.waiting_cpu > WAITING_LIMIT:
                lines.append(f"{where}: servers that waited took {each.waiting_cpu:.0%} of a core; its figures suffer")
        lines += [
            f"{each.server}, {each.clients} clients: {each.failed} of {each.requests} requests of guidellm failed"
            for each in self.checks
            if each.failed
        ]
        return lines + [f"without {name}: {reason}" for name, reason in self.lost.items()]

    def document(self) -> str:
        """A page of its own."""
        about = self.environment
        loads = ", ".join(f"{requests} by {clients}" for clients, requests in about["loads"].items())
        return "\n".join(
            [
                f"# Serving: {about['model']} on {about['device']}",
                "",
                f"    {about['command_line']}",
                "",
                f"* Machine: {about['device']}, {about['threads']} threads, {about['system']}.",
                f"* Date: {about['date']}. Code: {about['commit']}.",
                f"* Requests of a round, by clients: {loads}; {about['prompts']} prompts of the suite {about['suite']}, "
                f"{about['tokens']} new tokens each, {about['rounds']} rounds.",
                *(f"* {line[0].upper()}{line[1:]}" for line in LEGEND),
                "",
                self.tables(),
                *(f"* {line}." for line in self.remarks()),
                "",
            ]
        )

    def json(self) -> str:
        """One line."""
        return json.dumps(
            {
                "schema": JSON_SCHEMA,
                "rows": [asdict(each) for each in self.figures],
                "checks": [asdict(each) for each in self.checks],
                "servers": {name: asdict(each) for name, each in self.entrants.items()},
                "missing": [{"server": name, "reason": reason} for name, reason in self.lost.items()],
                "environment": {**self.environment, "interrupted": self.interrupted},
            }
        )


def _cells(each: Figures) -> list[str]:
    a_step = "" if each.tokens_a_step is None else f"{each.tokens_a_step:.2f}"
    return [
        str(each.clients),
        each.server,
        _told(each.requests_per_second, 2),
        _told(each.tokens_per_second),
        _told(each.ratios.get("casspec-off"), 2),
        _told(each.ratios.get("vllm"), 2),
        *_spots(each.first_token),
        *_spots(each.token),
        *_spots(each.gap),
        _spots(each.request)[0],
        a_step,
        f"{each.client_cpu:.2f}",
    ]


def _check_cells(each: Check) -> list[str]:
    spots = [*_spots(each.first_token), *_spots(each.token)]
    return [str(each.clients), each.server, f"{each.tokens_per_second:.1f}", *spots, f"{each.generator_cpu:.2f}"]


def _told(middle: Middle | None, digits: int = 1) -> str:
    if middle is None:
        return ""
    return f"{middle.value:.{digits}f}" + ("" if middle.spread is None else f" ± {middle.spread:.0%}")


def _spots(spot: Spot | None) -> tuple[str, str]:
    return ("", "") if spot is None else (f"{spot.p50:.1f}", f"{spot.p99:.1f}")


def _table(header: Sequence[str], rows: Any) -> list[str]:
    return [_line(header), _line(["--:", "---"] + ["--:"] * (len(header) - 2)), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
