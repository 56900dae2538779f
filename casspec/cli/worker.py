"""`casspec worker`: runs the jobs of a hub's queue on one device of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from casspec.cli.console import say
from casspec.cli.options import device_option, set_up, storage_option, threads_option

Function = TypeVar("Function", bound=Callable[..., Any])


def models_options(function: Function) -> Function:
    """`--allow-model` and `--models-in`: which models may be calibrated besides casspec's own."""
    directory = click.Path(exists=True, file_okay=False, path_type=Path)
    function = click.option(
        "--models-in",
        multiple=True,
        type=directory,
        metavar="DIR",
        help="Models in this directory may be calibrated; may be given several times.",
    )(function)
    return click.option(
        "--allow-model",
        multiple=True,
        metavar="NAME",
        help="A model that may be calibrated, by a name on the model hub; may be given several times.",
    )(function)


@click.command()
@device_option
@threads_option
@click.option(
    "--kind", metavar="NAME", help="Kind of device, by which jobs ask for it.  [default: cpu, or the name of the GPU]"
)
@models_options
@click.option("--until-eof", is_flag=True, hidden=True, help="End when standard input closes.")
@storage_option
def command(
    device: str,
    threads: int | None,
    kind: str | None,
    allow_model: tuple[str, ...],
    models_in: tuple[Path, ...],
    until_eof: bool,
    storage: str | None,
) -> None:
    """Run queued calibrations on one device of this machine, one at a time, until Ctrl-C or SIGTERM.

    A job that is under way then goes back into the queue, and whoever takes it goes on from what was measured.
    """
    from casspec.tuner.search.workers.processes import end_with_parent

    if until_eof:
        end_with_parent()
    set_up(device, threads)
    from casspec.hub.allowed import AllowedModels
    from casspec.hub.working.calibration import JobCalibration
    from casspec.hub.working.worker import POLL_S, Worker, place_of
    from casspec.storage import open_repository

    place = place_of(device, kind)
    with open_repository(storage) as repository:
        say(f"worker of '{place.kind}' on {place.name}")
        run = JobCalibration(device, AllowedModels(allow_model, models_in), storage)
        nobody_stops = threading.Event()
        try:
            Worker(repository, place, run, say).work(lambda: not nobody_stops.wait(POLL_S))
        except KeyboardInterrupt:
            say("ended; what was measured is stored")
