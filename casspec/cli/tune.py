"""`casspec tune`: searches on from a stored calibration, without measuring latencies or recording texts again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from casspec.cli.calibration_report import print_outcome
from casspec.cli.console import progress
from casspec.cli.options import apply_threads, check_device, device_option, storage_option, threads_option

if TYPE_CHECKING:
    from casspec.storage.repository import Repository
    from casspec.tuner.prompts import Suite
    from casspec.tuner.settings import CalibrationSettings


@click.command(name="tune")
@click.argument("profile", default="latest")
@device_option
@threads_option
@click.option(
    "--trials", type=click.IntRange(min=1), default=64, show_default=True, metavar="N", help="Most further drafters."
)
@click.option(
    "--budget",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Most further time to search for.",
)
@click.option("--bench/--no-bench", default=True, help="End with a benchmark of the new profile.")
@storage_option
def command(
    profile: str, device: str, threads: int | None, trials: int, budget: float, bench: bool, storage: str | None
) -> None:
    """Search on for better drafters from the calibration of PROFILE (an ID, or `latest`) and store a new profile.

    Latencies, recordings and the drafters evaluated so far are taken over. Interrupted, the same command with the ID
    goes on from there.
    """
    check_device(device)
    apply_threads(threads)

    import casspec
    from casspec.runtime.loader import check_profile
    from casspec.storage import open_repository
    from casspec.tuner.calibrate import STAGES, Calibrator
    from casspec.tuner.companions import companions

    with open_repository(storage) as repository:
        old = repository.profile(profile)
        source, stored = repository.calibration_of(old.content_hash())
        suite, settings = _extended(repository, source, stored, trials, budget)
        target = casspec.load_target(old.model.name, device=device, dtype=old.dtype)
        check_profile(old, target)
        calibrator = Calibrator(repository, companions(storage))
        try:
            with progress((*STAGES, "bench") if bench else STAGES) as stages:
                new = calibrator.run(target, suite, settings, stages, source=source)
                report = calibrator.bench(target, suite, settings, new, stages) if bench else None
        except KeyboardInterrupt:
            again = f"casspec tune {old.profile_id} with the same options"
            raise click.Abort(f"everything found is stored; {again} goes on from there") from None
    print_outcome(new, report)


def _extended(
    repository: Repository, source: str, stored: dict[str, Any], trials: int, budget: float
) -> tuple[Suite, CalibrationSettings]:
    """The suite of a calibration, unchanged, and its settings with room for further trials."""
    from casspec.storage.errors import SuiteError
    from casspec.tuner.settings import CalibrationSettings
    from casspec.tuner.suites import load_suite

    settings = CalibrationSettings.model_validate(stored)
    suite = load_suite(settings.suite)
    if suite.content_hash() != settings.suite_sha256:
        raise SuiteError(
            f"suite '{settings.suite}' has changed since this calibration recorded it; run `casspec calibrate` again"
        )
    known = repository.candidates(source)
    spent = sum(candidate.seconds for candidate in known)
    further = {"trials": len(known) + trials, "search_seconds": round(spent + budget, 3)}
    return suite, settings.model_copy(update=further)
