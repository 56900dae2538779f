"""`casspec tune`: goes on from a stored calibration, without measuring latencies or recording texts again.

Either searches on for drafters, or tunes methods by real decodes, or helps a calibration that is at its search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from casspec.cli.calibrated import compile_as_calibrated_option, load_for
from casspec.cli.calibration_report import print_outcome
from casspec.cli.console import output, say, show_stages
from casspec.cli.options import (
    MODEL_KINDS,
    adapter_option,
    available_cores,
    check_device,
    device_option,
    set_up,
    storage_option,
    threads_option_of,
)
from casspec.tuner.settings import MethodTuningSettings

if TYPE_CHECKING:
    from rich.table import Table

    from casspec.runtime.model.target import TargetModel
    from casspec.storage.repository import Repository
    from casspec.storage.schema import CascadeProfile
    from casspec.tuner.methods.by_decoding import RunTuned
    from casspec.tuner.settings import CalibrationSettings, RunTuningSettings
    from casspec.tuner.suites.prompts import Suite

FURTHER_TRIALS = 64
FURTHER_SECONDS = 60.0
SECONDS_PER_METHOD: float = MethodTuningSettings.model_fields["seconds_per_method"].default


@click.command(name="tune")
@click.argument("profile", default="latest")
@device_option
@compile_as_calibrated_option
@threads_option_of("as many as the profile was calibrated with, with --join all cores available")
@click.option(
    "--trials", type=click.IntRange(min=1), metavar="N", help=f"Most further drafters.  [default: {FURTHER_TRIALS}]"
)
@click.option(
    "--budget",
    type=click.FloatRange(min=1.0),
    metavar="SECONDS",
    help=f"Most further time to search for.  [default: {FURTHER_SECONDS:g}]",
)
@click.option("--methods", metavar="all|A,B", help="Tune the parameters of these methods instead of searching.")
@click.option(
    "--seconds-per-method",
    type=click.FloatRange(min=1.0),
    metavar="S",
    help=f"Decode time a method is tuned with, the same for all.  [default: {SECONDS_PER_METHOD:g}]",
)
@click.option("--bench/--no-bench", default=True, help="End with a benchmark of the new profile.")
@click.option(
    "--join", "joined", metavar="STUDY", help="Help the search of this calibration (its ID, or `latest`) to its end."
)
@click.option("--model", metavar="MODEL", help=f"With --join: the calibrated model on this machine. {MODEL_KINDS}.")
@adapter_option
@click.option("--until-eof", is_flag=True, hidden=True, help="End when standard input does.")
@storage_option
def command(
    profile: str,
    device: str,
    compiles: bool | None,
    threads: int | None,
    trials: int | None,
    budget: float | None,
    methods: str | None,
    seconds_per_method: float | None,
    bench: bool,
    joined: str | None,
    model: str | None,
    until_eof: bool,
    storage: str | None,
) -> None:
    """Improve on the calibration of PROFILE (an ID, or `latest`) and store a new profile.

    Searches on for better drafters; latencies, recordings and the drafters evaluated so far are taken over. With
    --methods the drafters stay, and every setting of a small grid a method is raced in real decodes on the tuning half,
    all methods with the same budget; then `casspec bench` has a tuned row for each. Interrupted, the same command with
    the ID goes on from there.

    With --join this process is a further worker of a calibration that runs elsewhere on the same --storage: it takes
    recordings and latencies from there, evaluates drafters until the budget is spent, and makes no profile of its own.
    """
    if joined is not None:
        _join(joined, model, device, compiles, threads, storage, until_eof)
        return
    if model is not None:
        raise click.UsageError("--model says where the model of --join lies; a profile names its own")
    if methods is None and seconds_per_method is not None:
        raise click.UsageError("--seconds-per-method tunes methods: name them with --methods")
    if methods is not None and (trials is not None or budget is not None):
        raise click.UsageError("--trials and --budget are of the search for drafters: leave them out with --methods")
    check_device(device)

    from casspec.storage import open_repository
    from casspec.tuner.calibration.attempt import begin, take_over
    from casspec.tuner.calibration.calibrate import STAGES, calibrate
    from casspec.tuner.calibration.closing_bench import bench as closing_bench
    from casspec.tuner.calibration.method_tuning import RUN_STAGES, tune_by_decoding
    from casspec.tuner.external_databases import external_databases
    from casspec.tuner.settings import RunTuningSettings

    with open_repository(storage) as repository:
        old = repository.profile(profile)
        _check_forwards_hold(old, device, compiles)
        set_up(device, threads or _threads_of(old))
        source, stored = repository.calibration_of(old.content_hash())
        suite, calibrated = _calibrated_on(stored)
        settings = (
            _with_room(repository, source, calibrated, trials or FURTHER_TRIALS, budget or FURTHER_SECONDS)
            if methods is None
            else _run_settings(calibrated, old, methods, seconds_per_method or SECONDS_PER_METHOD)
        )
        target = load_for(old, old.model.name, device, compiles)
        _check_latencies_hold(old, target)
        context = begin(repository, external_databases(storage), target, suite, settings)
        outcomes: list[RunTuned] = []
        names = STAGES if methods is None else RUN_STAGES
        try:
            with show_stages((*names, "bench") if bench else names) as stages:
                if isinstance(settings, RunTuningSettings):
                    new, outcomes = tune_by_decoding(context, settings, old, stages)
                else:
                    take_over(repository, source, context.calibration_id)
                    new = calibrate(context, stages, tell=say)
                report = closing_bench(context, new, stages) if bench else None
        except KeyboardInterrupt:
            again = f"casspec tune {old.profile_id} with the same options"
            raise click.Abort(f"everything found is stored; {again} goes on from there") from None
    _print_tuned(outcomes)
    print_outcome(new, report, asked=bench)


def _join(
    selection: str,
    model: str | None,
    device: str,
    compiles: bool | None,
    threads: int | None,
    storage: str | None,
    until_eof: bool,
) -> None:
    from casspec.cli.join import join
    from casspec.tuner.search.workers.processes import end_with_parent

    given = {"profile", "trials", "budget", "methods", "seconds_per_method", "bench"}
    context = click.get_current_context()
    told = [name for name in given if context.get_parameter_source(name) is not ParameterSource.DEFAULT]
    if told:
        raise click.UsageError(
            f"--join goes by the settings of the calibration: leave out {' and '.join(sorted(told))}"
        )
    if until_eof:
        end_with_parent()
    set_up(device, threads)
    try:
        join(selection, model, device, compiles, storage)
    except KeyboardInterrupt:
        raise click.Abort("what this worker was at is left to the others") from None


def _threads_of(profile: CascadeProfile) -> int | None:
    """As many as it was calibrated with, where there are as many cores."""
    return min(profile.device.threads, available_cores()) if profile.device.kind == "cpu" else None


def _check_forwards_hold(profile: CascadeProfile, device: str, compiles: bool | None) -> None:
    """Raises ProfileMismatch where other forwards are asked for than those whose latencies are taken over."""
    from casspec.storage.errors import ProfileMismatch
    from casspec.storage.plans import were_compiled

    if compiles not in (None, were_compiled(device, profile.backend or "lean", profile.forwards)):
        there, asked = ("without", "--compile") if compiles else ("with", "--no-compile")
        raise ProfileMismatch(
            f"profile {profile.profile_id} was calibrated {there} compiled forwards: leave {asked} out or run casspec calibrate {asked}"
        )


def _check_latencies_hold(profile: CascadeProfile, target: TargetModel) -> None:
    """Raises ProfileMismatch where the latencies that are taken over would not be those of this process."""
    from casspec.runtime.loading.device import device_fingerprint
    from casspec.storage.errors import ProfileMismatch

    here, there = device_fingerprint(target.device), profile.device
    if here.identity() == there.identity():
        return
    advice = "run casspec calibrate here"
    if here.threads != there.threads:
        differs = f"with {there.threads} CPU threads, here are {here.threads}"
        with_theirs = here.model_copy(update={"threads": there.threads})
        if with_theirs.identity() == there.identity() and there.threads <= available_cores():
            advice = f"take --threads {there.threads} or {advice}"
    elif here.name != there.name:
        differs = f"on {there.name}, here is {here.name}"
    else:
        differs = (
            f"under torch {there.torch_version} ({there.capability}), here is {here.torch_version} ({here.capability})"
        )
    raise ProfileMismatch(f"profile {profile.profile_id} was calibrated {differs}: {advice}")


def _calibrated_on(stored: dict[str, Any]) -> tuple[Suite, CalibrationSettings]:
    """The suite of a calibration, unchanged, and its settings."""
    from casspec.storage.errors import SuiteError
    from casspec.tuner.settings import CalibrationSettings
    from casspec.tuner.suites.load import load_suite

    settings = CalibrationSettings.of_stored(stored)
    suite = load_suite(settings.suite)
    if suite.content_hash() != settings.suite_sha256:
        raise SuiteError(
            f"suite '{settings.suite}' has changed since this calibration recorded it; run `casspec calibrate` again"
        )
    return suite, settings


def _with_room(
    repository: Repository, source: str, settings: CalibrationSettings, trials: int, budget: float
) -> CalibrationSettings:
    """The settings with room for further trials."""
    known = repository.candidates(source)
    spent = sum(candidate.seconds for candidate in known)
    return settings.changed({"search": {"trials": len(known) + trials, "seconds": round(spent + budget, 3)}})


def _run_settings(
    settings: CalibrationSettings, old: CascadeProfile, methods: str, seconds: float
) -> RunTuningSettings:
    from casspec.tuner.methods.by_decoding import tunable
    from casspec.tuner.settings import RunTuningSettings

    names = None if methods == "all" else [name.strip() for name in methods.split(",") if name.strip()]
    return RunTuningSettings(
        **settings.model_dump(),
        tune=MethodTuningSettings(profile_hash=old.content_hash(), methods=tunable(names), seconds_per_method=seconds),
    )


def _print_tuned(outcomes: list[RunTuned]) -> None:
    """A table of what was found on stdout, and a line for each method that could not run on stderr."""
    for outcome in outcomes:
        if outcome.skipped:
            say(f"{outcome.method} is not tuned: {outcome.skipped}")
    tuned = [outcome for outcome in outcomes if not outcome.skipped]
    if tuned:
        output.print(_tuned_table(tuned))


def _tuned_table(tuned: list[RunTuned]) -> Table:
    from rich.table import Table

    modes = sorted(tuned[0].speedup, reverse=True)  # sampling is the main one
    table = Table(title="speedup on the tuning half: tuned (as published)", title_justify="left", box=None)
    table.add_column("method")
    for mode in modes:
        table.add_column(mode, justify="right", no_wrap=True)
    table.add_column("seconds", justify="right")
    table.add_column("setting", overflow="fold")
    for one in tuned:
        speedups = [f"{one.speedup[mode]:.2f}x ({one.published_speedup[mode]:.2f}x)" for mode in modes]
        changed = " ".join(f"{axis}={value}" for axis, value in one.changes.items())
        table.add_row(one.method, *speedups, f"{one.decode_seconds:.0f}", changed or "as published")
    return table
