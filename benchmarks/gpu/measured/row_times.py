"""Forwards alone, by the number of rows: what verifying a tree costs beside decoding one token."""

from __future__ import annotations

from benchmarks.gpu.bound import bound_ms
from benchmarks.gpu.forwards import Forwards, available, captures, with_graphs
from benchmarks.gpu.stages import Work
from casspec.profiler.probes import Probes
from casspec.profiler.timing import Timer, timer_for
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import DeviceCeilings, LatencyPoint, Measurement

ROWS = (1, 2, 4, 8, 16, 32, 64)
CONTEXT_TOKENS = 256
CALLS = 5
"""Timed in a row, after as many that are not counted."""


def time_rows(
    work: Work, target: TargetModel, ceilings: DeviceCeilings, rounds: int, timer: Timer | None = None
) -> None:
    """Rows: forwards, rows, median, spread (interquartile range over median), time over that of one row, share of the bound."""
    timer = timer or timer_for(target.device)
    n = target.n_layers
    points = {
        rows: LatencyPoint(subject="forward", n_attention=n, n_mlp=n, n_tokens=rows, context_tokens=CONTEXT_TOKENS)
        for rows in ROWS
    }
    probes = Probes(target, points.values())
    calls = {rows: probes.call(point) for rows, point in points.items()}
    found: dict[tuple[Forwards, int], list[float]] = {(way, rows): [] for way in available(target) for rows in ROWS}
    for turn in range(rounds + 1):
        for (way, rows), values in found.items():
            if work.is_over:
                return
            with with_graphs(target, way == "graphs"):
                taken = timer.time_ms(calls[rows], CALLS)
            values += taken if turn else []
        if turn:
            work.replace(_rows(found, target, ceilings))
    work.note(captures(target))


def _rows(
    found: dict[tuple[Forwards, int], list[float]], target: TargetModel, ceilings: DeviceCeilings
) -> list[dict[str, object]]:
    least = bound_ms(target.costs(), target.n_layers, ceilings.bandwidth_gb_per_s, CONTEXT_TOKENS)
    rows = []
    for (way, n_rows), values in found.items():
        taken = Measurement(values=tuple(values))
        rows.append(
            {
                "forwards": way,
                "rows": n_rows,
                "ms": taken.median_ms,
                "spread": taken.spread,
                "over_one": taken.median_ms / Measurement(values=tuple(found[way, 1])).median_ms,
                "of_bound": least / taken.median_ms if n_rows == 1 else None,
            }
        )
    return rows
