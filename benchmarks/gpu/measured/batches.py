"""Many texts at a time on the batch engine: plain decoding and `dytc`, batch 1 to 32."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.gpu.bound import bound_ms
from benchmarks.gpu.forwards import available, captures, with_graphs
from benchmarks.gpu.race import CAPTURES, Course
from benchmarks.gpu.stages import Row, Work
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import CASCADE, BatchRow, DeviceCeilings
from casspec.tuner.bench.batches import PLAIN, race_batches
from casspec.tuner.bench.requests import SAMPLING_TEMPERATURE

SIZES = (1, 2, 4, 8, 16, 32)
WARM_UP_TOKENS = 8


def decode_batches(
    work: Work, target: TargetModel, ceilings: DeviceCeilings, course: Course, sizes: Sequence[int] = SIZES
) -> None:
    """Both methods at each size in turns, sampled at temperature .7, by graphs where there are some."""
    way = available(target)[-1]
    with with_graphs(target, way == "graphs"):
        for size in sizes:
            if work.is_over:
                work.note(f"time was over before batch {size}")
                return
            for _ in range(CAPTURES if way == "graphs" else 1):
                _raced(target, course, size, min(WARM_UP_TOKENS, course.n_tokens), 1)
            rows = _raced(target, course, size, course.n_tokens, course.rounds)
            work.keep(*(_row(row, way, target, ceilings, course) for row in rows))
            work.tell(f"batch {size}")
    work.note(captures(target))


def _raced(target: TargetModel, course: Course, size: int, n_tokens: int, rounds: int) -> list[BatchRow]:
    prompts = list(course.prompts)
    return race_batches(target, None, [CASCADE], prompts, [size], n_tokens, SAMPLING_TEMPERATURE, rounds, course.seed)


def _row(row: BatchRow, way: str, target: TargetModel, ceilings: DeviceCeilings, course: Course) -> Row:
    least = bound_ms(
        target.costs(), target.n_layers, ceilings.bandwidth_gb_per_s, course.context_tokens, batch=row.batch
    )
    return {
        "batch": row.batch,
        "mode": row.mode,
        "method": row.method,
        "forwards": way,
        "tokens_per_s": row.tokens_per_s,
        "token_ms": row.token_ms,
        "over_plain": row.over_plain,
        "least": row.least,
        "most": row.most,
        "of_bound": least / row.token_ms if row.method == PLAIN else None,
        "rounds": row.rounds,
    }
