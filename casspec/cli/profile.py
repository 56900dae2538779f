"""`casspec profile`: measures latency on this device and fits the latency model, without searching drafters."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from casspec.cli.console import output, progress, say
from casspec.cli.options import model_argument, run_options, seed_option, set_up, storage_option

if TYPE_CHECKING:
    from casspec.profiler.design import Design
    from casspec.profiler.precisions import PrecisionVerdict
    from casspec.profiler.report import ErrorRow
    from casspec.runtime.target import TargetModel
    from casspec.storage.schema import LatencyModel


@click.command(name="profile")
@model_argument
@run_options
@click.option(
    "--budget",
    type=click.FloatRange(min=1.0),
    metavar="SECONDS",
    help="Time to measure for, by default 22; large models take longer, for every point is measured a few times.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be measured and how long it may take, then stop.")
@click.option("--force", is_flag=True, help="Measure again although the same profile is stored.")
@seed_option
@storage_option
def command(
    model: str,
    device: str,
    dtype: str,
    threads: int | None,
    budget: float | None,
    dry_run: bool,
    force: bool,
    seed: int,
    storage: str | None,
) -> None:
    """Measure the latency of MODEL on this device and fit the latency model.

    MODEL is a local directory, a name on the model hub, or `reference` (the default). Every measured point is stored at
    once, so an interrupted run goes on where it stopped.
    """
    set_up(device, threads)

    import casspec
    from casspec.profiler.design import design
    from casspec.profiler.profile import BUDGET_SECONDS
    from casspec.profiler.report import error_table
    from casspec.profiler.stored import profile_stored, verdicts
    from casspec.runtime.fingerprint import device_fingerprint, model_fingerprint
    from casspec.runtime.latency_features import QUANTISED
    from casspec.runtime.quantization import available

    budget = budget or BUDGET_SECONDS
    target = casspec.load_target(model, device=device, dtype=dtype)
    if dry_run:
        possible = [precision for precision in QUANTISED if available(target, precision) is None]
        plan = design(target, seed, precisions=possible)
        _print_plan(plan, target, budget)
        return

    from casspec.storage.database import open_database
    from casspec.storage.repository import Repository

    repository = Repository(open_database(storage))
    fingerprint = device_fingerprint(device)
    settings = {"stage": "profile", "seed": seed, "budget_seconds": budget}
    calibration = repository.calibration(
        model_fingerprint(target), fingerprint, str(target.dtype).removeprefix("torch."), settings, force=force
    )
    key = calibration.calibration_id
    try:
        with progress() as run, run.stage("profile") as bar:
            fitted = profile_stored(repository, key, target, fingerprint, bar.update, budget, seed)
    except KeyboardInterrupt:
        stored = len(repository.latency_samples(key))
        raise click.Abort(f"{stored} points are stored; the same command goes on from there") from None
    samples, found = repository.latency_samples(key), verdicts(repository, key)
    measured = [precision for precision in QUANTISED if any(sample.point.precision is precision for sample in samples)]
    _print_errors(error_table(samples, fitted, design(target, seed, precisions=measured), seed), fitted)
    _print_precisions(list(found.values()))
    say(f"stored as calibration {key}")


def _print_plan(plan: Design, target: TargetModel, budget_seconds: float) -> None:
    from casspec.profiler.design import estimate_seconds
    from casspec.profiler.measure import FEWEST_CALLS_A_POINT
    from casspec.runtime.latency import builtin_latency

    counts = Counter(point.subject for point in plan.points)
    for subject, count in counts.items():
        output.print(f"{subject:>10}  {count:>4} points")
    contexts = sorted({point.context_tokens for point in plan.fitted})
    output.print(f"contexts {', '.join(map(str, contexts))}; {len(plan.held_out)} points are held out of the fit")
    least = estimate_seconds(plan.points, builtin_latency(target), FEWEST_CALLS_A_POINT)
    output.print(f"about {max(least, budget_seconds):.0f} s (at the very least {least:.0f} s, by a rough guess)")


def _print_errors(rows: list[ErrorRow], model: LatencyModel) -> None:
    from rich.table import Table

    from casspec.profiler.report import error_bar

    table = Table("points", "n", "median error", "90th percentile", "spread")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        figures = (row.median_error, row.p90_error, row.median_spread)
        table.add_row(row.group, str(row.n_points), *(f"{figure:.1%}" for figure in figures))
    output.print(table)
    bar = error_bar(model)
    verdict = "within" if model.cv_median_error <= bar else "above"
    output.print(
        f"median error {model.cv_median_error:.1%}, {verdict} the {bar:.1%} expected "
        f"(test-retest {model.test_retest:.1%}, {model.n_points} points)"
    )


def _print_precisions(verdicts: list[PrecisionVerdict]) -> None:
    """What each quantised precision gives on this device and takes in memory, and why it is not offered where it is not."""
    from rich.table import Table

    from casspec.profiler.precisions import QUERY_TOKENS

    table = Table("query tokens", *map(str, QUERY_TOKENS), "memory", "offered")
    for column in table.columns[1:-1]:
        column.justify = "right"
    for verdict in verdicts:
        ratios = [f"{verdict.ratios[tokens]:.2f}" if tokens in verdict.ratios else "" for tokens in QUERY_TOKENS]
        memory = f"{verdict.extra_bytes / 2**20:,.0f} MiB" if verdict.extra_bytes else ""
        table.add_row(verdict.precision, *ratios, memory, "no" if verdict.reason else "yes")
    output.print(table)
    output.print("forwards of quantised plans: time over the target's own, by query tokens")
    for verdict in verdicts:
        if verdict.reason:
            output.print(f"{verdict.precision} is not offered: {verdict.reason}")
