"""`casspec hub`: calibrations queued over HTTP, and the profiles they make."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from casspec.cli.console import say
from casspec.cli.hub_token import command as token_command
from casspec.cli.listening_options import amount_option, listening_options
from casspec.cli.options import DeviceType, SectionedGroup, check_device, storage_option, threads_option
from casspec.cli.worker import models_options

if TYPE_CHECKING:
    from casspec.hub.working.local_worker import LocalWorker

MIB = 1 << 20

SECTIONS = {
    "Who may ask": ("host", "port", "api_key", "api_key_file"),
    "How much": ("max_request_mib", "max_rate", "max_queued"),
    "What may be calibrated": ("allow_model", "models_in"),
    "Who runs the jobs": ("worker_device", "ray", "threads"),
    "What drift leads to": ("recalibrate_on_drift", "recalibrate_hours", "recalibrate_reports"),
}


@click.group(
    cls=SectionedGroup, sections=SECTIONS, invoke_without_command=True, subcommand_metavar="[COMMAND [ARGS]...]"
)
@listening_options(8100, "Opens everything, as a token of role admin does; see `casspec hub token`.")
@amount_option("--max-request-mib", 8.0, "Size of a request, its suite included.", most=1024)
@click.option(
    "--max-rate",
    type=click.FloatRange(min=0, min_open=True, max=1e6),
    default=100.0,
    show_default=True,
    metavar="N",
    help="Requests a second of one token, or of one address without; ten seconds' worth at once.",
)
@click.option(
    "--max-queued",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    metavar="N",
    help="Jobs that wait at a time.",
)
@models_options
@click.option(
    "--worker-device",
    type=DeviceType(),
    default="cpu",
    metavar="DEVICE",
    help="Device of the worker that runs beside the hub: cpu, cuda or cuda:N.  [default: cpu]",
)
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Place the jobs on a Ray cluster in place of that worker: local, auto, or the head's HOST:PORT.",
)
@click.option("--no-worker", is_flag=True, help="Queue only: `casspec worker` runs the jobs.")
@click.option(
    "--recalibrate-on-drift",
    is_flag=True,
    help="Calibrate again, on requests that servers recorded, what they report drift of; promote what is faster.",
)
@amount_option("--recalibrate-hours", 24.0, "Least time between two of those of a model and device.", may_be_zero=True)
@click.option(
    "--recalibrate-reports",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Least reports in a row that say drift.",
)
@threads_option
@storage_option
@click.pass_context
def command(
    context: click.Context,
    host: str,
    port: int,
    api_key: tuple[str, ...],
    api_key_file: Path | None,
    max_request_mib: float,
    max_rate: float,
    max_queued: int,
    allow_model: tuple[str, ...],
    models_in: tuple[Path, ...],
    worker_device: str,
    ray: str | None,
    no_worker: bool,
    recalibrate_on_drift: bool,
    recalibrate_hours: float,
    recalibrate_reports: int,
    threads: int | None,
    storage: str | None,
) -> None:
    """Queue calibrations over HTTP, run them on this machine, and hand out their profiles, until Ctrl-C or SIGTERM."""
    if context.invoked_subcommand is not None:
        _check_no_options(context)
        return
    from casspec.hub.access.askers import check_host
    from casspec.hub.allowed import AllowedModels
    from casspec.hub.app import create_app
    from casspec.hub.reports.drift_settings import DriftSettings
    from casspec.hub.reports.policy import DriftPolicy
    from casspec.hub.run import run
    from casspec.hub.settings import HubSettings
    from casspec.server.gate.keys import is_loopback, keys_of
    from casspec.server.run import listening, url_of
    from casspec.storage import open_repository

    keys = keys_of(api_key, api_key_file, "api-key")
    drift = DriftSettings(recalibrate_hours * 3600, recalibrate_reports) if recalibrate_on_drift else None
    allowed = AllowedModels(allow_model, models_in)
    settings = HubSettings(
        allowed,
        keys,
        int(max_request_mib * MIB),
        is_local=is_loopback(host),
        max_rate=max_rate,
        max_queued=max_queued,
        drift=drift,
    )
    with ExitStack() as stack:
        repository = stack.enter_context(open_repository(storage))
        check_host(host, keys, repository.tokens)
        place = stack.enter_context(listening(host, port))
        if not no_worker:
            doing = _placing(ray) if ray else _working(worker_device)
            stack.enter_context(_worker(doing, threads, allow_model, models_in, storage).running())
        if drift is not None:
            stack.enter_context(DriftPolicy(repository, drift, allowed, say).running())
        say(f"listening at {url_of(place)}")
        run(create_app(repository, settings), place)
    say("ended")


command.add_command(token_command, "token")


def _check_no_options(context: click.Context) -> None:
    """A command behind this one has options of its own."""
    for parameter in context.command.params:
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
            raise click.UsageError(
                f"{parameter.opts[0]} is of the hub itself: write options of `{context.invoked_subcommand}` behind it"
            )


def _working(device: str) -> list[str]:
    """Options of a worker on a device of this machine."""
    check_device(device)
    return ["--device", device]


def _placing(address: str) -> list[str]:
    """Options of a worker that places jobs. Raises UnsupportedOption where it would have no Ray or no token."""
    from casspec.hub.fleet.access import LOCAL, require_ray, require_token

    require_ray()
    if address != LOCAL:
        require_token()
    return ["--ray", address]


def _worker(
    doing: list[str],
    threads: int | None,
    names: tuple[str, ...],
    directories: tuple[Path, ...],
    storage: str | None,
) -> LocalWorker:
    """The storage's URL may hold a password and goes through the environment; keys are not the worker's to know."""
    from casspec.hub.working.local_worker import LocalWorker
    from casspec.storage.database.location import ENVIRONMENT_VARIABLE

    words = [sys.executable, "-P", "-m", "casspec", "worker", "--until-eof", *doing]
    words += [] if threads is None else ["--threads", str(threads)]
    words += [word for name in names for word in ("--allow-model", name)]
    words += [word for directory in directories for word in ("--models-in", str(directory))]
    told = {"CASSPEC_API_KEY": ""} | ({} if storage is None else {ENVIRONMENT_VARIABLE: storage})
    return LocalWorker(words, told, say)
