"""The arithmetic of a benchmark: timed runs of a method and of autoregressive decoding in, rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from casspec.runtime.decode import Statistics
from casspec.storage.schema import OVERALL, BenchRow, BenchText, Mode
from casspec.tuner.bench.lossless.judge import is_lossless
from casspec.tuner.bench.lossless.text_check import Divergence


@dataclass(frozen=True)
class Run:
    """One method on one prompt in one repeat."""

    prompt_id: str
    task: str
    repeat: int
    statistics: Statistics
    repetition: float
    text_sha256: str = ""

    @property
    def decode_ms(self) -> float:
        return self.statistics.decode_ms

    @property
    def total_ms(self) -> float:
        """Prefill included."""
        return self.statistics.prefill_ms + self.statistics.decode_ms

    @property
    def n_tokens(self) -> int:
        return self.statistics.emitted_tokens


@dataclass(frozen=True)
class Series:
    """All runs of one method in one mode, and what its texts were found to be."""

    method: str
    variant: str
    mode: Mode
    runs: tuple[Run, ...]
    divergences: tuple[Divergence, ...] = ()
    judged: bool = False
    """Whether divergences decide on `lossless`; it is None otherwise."""


def rows_of_task(series: Sequence[Series], baseline: Sequence[Run], task: str, dtype: str) -> list[BenchRow]:
    """One row a series.

    Args:
        series: of one mode.
        baseline: autoregressive runs of the same mode over the same prompts and repeats; any number of runs of each.
        task: of the suite, or "overall" for all tasks together.
    """

    def of_task(runs: Iterable[Run]) -> list[Run]:
        return [run for run in runs if task in (OVERALL, run.task)]

    return [_row(entry, of_task(entry.runs), of_task(baseline), task, dtype) for entry in series]


def texts_of(series: Sequence[Series]) -> list[BenchText]:
    """Every prompt of every series by itself."""
    return [
        BenchText(
            method=entry.method,
            variant=entry.variant,
            mode=entry.mode,
            task=runs[0].task,
            prompt_id=prompt_id,
            text_sha256=runs[0].text_sha256,
            n_tokens=fmean(run.n_tokens for run in runs),
            verify_steps=fmean(run.statistics.verify_steps for run in runs),
            decode_ms=fmean(run.decode_ms for run in runs),
        )
        for entry in series
        for prompt_id, runs in _by_prompt(entry.runs).items()
    ]


def relative_noise(first: Sequence[Run], second: Sequence[Run]) -> float:
    """Relative difference of two measurements of the same method over the same prompts."""
    a, b = (sum(run.decode_ms for run in runs) for runs in (first, second))
    return 2 * abs(a - b) / (a + b)


def _row(series: Series, runs: list[Run], baseline: list[Run], task: str, dtype: str) -> BenchRow:
    n_prompts = len({run.prompt_id for run in runs})

    def total(figure: Callable[[Statistics], float]) -> float:
        """Over the row's prompts, each by its mean over runs."""
        return sum(figure(run.statistics) for run in runs) * n_prompts / len(runs)

    differences = [found.difference for found in series.divergences if task in (OVERALL, found.task)]
    tokens, decode_ms = total(lambda s: s.emitted_tokens), total(lambda s: s.decode_ms)
    steps, drafted = total(lambda s: s.verify_steps), total(lambda s: s.drafted_tokens)
    draft_ms, verify_ms = total(lambda s: s.draft_ms), total(lambda s: s.verify_ms)
    overhead_ms = decode_ms - draft_ms - verify_ms
    return BenchRow(
        method=series.method,
        variant=series.variant,
        task=task,
        mode=series.mode,
        dtype=dtype,
        speedup=_speedup(baseline, runs, lambda run: run.decode_ms),
        speedup_with_prefill=_speedup(baseline, runs, lambda run: run.total_ms),
        speedup_specbench=_mean_tokens_per_ms(runs) / _mean_tokens_per_ms(baseline),
        tokens_per_second=tokens / decode_ms * 1e3,
        mean_acceptance_length=tokens / steps,
        acceptance_rate=total(lambda s: s.accepted_tokens) / drafted if drafted else 0.0,
        lossless=is_lossless(differences, round(tokens)) if series.judged else None,
        divergences=len(differences),
        forward_ms=draft_ms + verify_ms,
        draft_ms=draft_ms,
        verify_ms=verify_ms,
        overhead_ms=overhead_ms,
        overhead_percent=100 * overhead_ms / decode_ms,
        overhead_us_per_step=1e3 * overhead_ms / steps,
        tree_nodes=(drafted + steps) / steps,
        repetition=fmean(run.repetition for run in runs),
        n_prompts=n_prompts,
        n_tokens=round(tokens),
        spread=_spread(baseline, runs),
    )


def _speedup(baseline: Sequence[Run], runs: Sequence[Run], time_ms: Callable[[Run], float]) -> float:
    """Total autoregressive time over total time for as many tokens; a baseline run twice counts by its mean."""
    per_token = sum(map(time_ms, baseline)) / sum(run.n_tokens for run in baseline)
    return per_token / (sum(map(time_ms, runs)) / sum(run.n_tokens for run in runs))


def _mean_tokens_per_ms(runs: Iterable[Run]) -> float:
    """Mean over questions of tokens over the whole call's time, prefill included, as Spec-Bench counts."""
    return fmean(
        sum(run.n_tokens for run in same) / sum(run.total_ms for run in same) for same in _by_prompt(runs).values()
    )


def _by_prompt(runs: Iterable[Run]) -> dict[str, list[Run]]:
    by_prompt: dict[str, list[Run]] = {}
    for run in runs:
        by_prompt.setdefault(run.prompt_id, []).append(run)
    return by_prompt


def _spread(baseline: Sequence[Run], runs: Sequence[Run]) -> float:
    speedups = [
        _speedup(
            [run for run in baseline if run.repeat == repeat],
            [run for run in runs if run.repeat == repeat],
            lambda run: run.decode_ms,
        )
        for repeat in {run.repeat for run in runs}
    ]
    return (max(speedups) - min(speedups)) / 2 / median(speedups)
