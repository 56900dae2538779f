"""`casspec profile`: measures latency on this device and fits the latency model, without searching drafters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import RenderableType
from rich.table import Table

from casspec.cli.console import output, say, show_stages
from casspec.cli.options import figures_option, model_argument, run_options, seed_option, set_up, storage_option

if TYPE_CHECKING:
    from casspec.profiler.design import Design
    from casspec.runtime.model.target import BackendChoice
    from casspec.storage.schema import LatencyModel, LatencySample


@click.command(name="profile")
@model_argument
@run_options
@click.option(
    "--budget",
    type=click.FloatRange(min=1.0),
    metavar="SECONDS",
    help="Time to measure for, by default 22; large models take longer, for every point is measured a few times.",
)
@click.option(
    "--max-context",
    type=click.IntRange(min=64),
    metavar="TOKENS",
    help="Largest context to measure at, by default 2048 or what the model takes; beyond it latencies are extrapolated.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 32),
    default=1,
    show_default=True,
    metavar="N",
    help="Largest batch to measure; batches of 2, 4 ... N are measured as far as memory allows.",
)
@figures_option("the fit, its errors and the roofline")
@click.option("--dry-run", is_flag=True, help="Say what would be measured and how long it may take, then stop.")
@click.option("--force", is_flag=True, help="Measure again although the same profile is stored.")
@seed_option
@storage_option
def command(
    model: str,
    device: str,
    dtype: str,
    backend: BackendChoice,
    compiles: bool,
    threads: int | None,
    budget: float | None,
    max_context: int | None,
    batch: int,
    figures: Path | None,
    dry_run: bool,
    force: bool,
    seed: int,
    storage: str | None,
) -> None:
    """Measure the latency of MODEL on this device and fit the latency model.

    MODEL is a local directory, a GGUF file, a name on the model hub, `reference` (the default), `testbed:N`, `smollm2`
    or `smollm2-dithered`. Every measured point is stored at once, so an interrupted run goes on where it stopped.
    """
    set_up(device, threads)

    import casspec
    from casspec.cli import latency_tables
    from casspec.profiler.design import LARGEST_CONTEXT, batches_up_to
    from casspec.profiler.profile import PROFILE_SECONDS, Scope
    from casspec.profiler.report import checks, error_table, held_out
    from casspec.profiler.slowdown import drift
    from casspec.profiler.stored import profile_stored, rows_that_fit, scope_of, verdicts
    from casspec.runtime.latency.features import QUANTISED
    from casspec.runtime.loading.device import device_fingerprint
    from casspec.runtime.loading.fingerprint import model_fingerprint

    budget, largest_context = budget or PROFILE_SECONDS, max_context or LARGEST_CONTEXT
    target = casspec.load_target(model, device=device, dtype=dtype, backend=backend, compiles=compiles)
    if dry_run:
        possible = tuple(precision for precision in QUANTISED if target.refusal(precision) is None)
        rows = {size: rows_that_fit(target, size) for size in batches_up_to(batch)}
        plan = Scope(largest_context, possible, rows).design(target, seed)
        _print(latency_tables.planned(plan, target, budget))
        return
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)

    from casspec.storage import open_repository

    fingerprint = device_fingerprint(device)
    settings: dict[str, Any] = {"stage": "profile", "seed": seed, "budget_seconds": budget}
    settings |= {"batch": batch} if batch > 1 else {}
    settings |= {"max_context": max_context} if max_context else {}
    settings |= {"backend": target.backend} if target.backend != "lean" else {}
    settings |= {"forwards": target.forwards} if target.forwards else {}
    with open_repository(storage) as repository:
        calibration = repository.calibration(
            model_fingerprint(target), fingerprint, target.dtype_name, settings, force=force
        )
        calibration_id = calibration.calibration_id
        try:
            with show_stages() as run, run.stage("profile") as progress:
                fitted = profile_stored(
                    repository, calibration_id, target, fingerprint, progress, budget, seed, largest_context, batch
                )
        except KeyboardInterrupt:
            stored = len(repository.latency_samples(calibration_id))
            raise click.Abort(f"{stored} points are stored; the same command goes on from there") from None
        samples = repository.latency_samples(calibration_id)
        plan = scope_of(repository, calibration_id, largest_context).design(target, seed)
        judged = list(verdicts(repository, calibration_id).values())
    output.print(latency_tables.error_rows(error_table(samples, fitted, plan, seed)))
    if fitted.candidates:
        output.print(latency_tables.compared(fitted.candidates, fitted.kind))
    output.print(latency_tables.checked(checks(fitted, held_out(samples, fitted, plan))))
    _print(latency_tables.noise(fitted, drift(samples)))
    _print(latency_tables.precisions(judged))
    if figures is not None:
        _draw(figures, samples, fitted, plan, seed)
    say(f"stored as calibration {calibration_id}")


def _print(parts: Iterable[RenderableType]) -> None:
    for part in parts:
        output.print(part, soft_wrap=not isinstance(part, Table))


def _draw(directory: Path, samples: Sequence[LatencySample], model: LatencyModel, plan: Design, seed: int) -> None:
    from casspec.profiler.figures import error_figure, fit_figure, roofline_figure
    from casspec.profiler.profile import fitted_samples

    drawn = {
        "fit": fit_figure(samples, model),
        "errors": error_figure(fitted_samples(samples, plan), model, seed),
        "roofline": roofline_figure(samples, model),
    }
    for name, figure in drawn.items():
        figure.savefig(directory / f"latency-{name}.png", dpi=120)
    say(f"figures are in {directory}")
