"""`casspec worker`: runs the jobs of a hub's queue on one device of this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from casspec.cli.console import output, say
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
@click.option(
    "--ray",
    metavar="ADDRESS",
    help="Place the jobs on a Ray cluster in place of running them: local, auto, or the head's HOST:PORT.",
)
@click.option(
    "--ray-start",
    metavar="ADDRESS",
    help="Print the command by which this machine joins the Ray head at HOST:PORT, or is the `head`, and end.",
)
@click.option("--until-eof", is_flag=True, hidden=True, help="End when standard input closes.")
@storage_option
def command(
    device: str,
    threads: int | None,
    kind: str | None,
    allow_model: tuple[str, ...],
    models_in: tuple[Path, ...],
    ray: str | None,
    ray_start: str | None,
    until_eof: bool,
    storage: str | None,
) -> None:
    """Run queued calibrations on one device of this machine, one at a time, until Ctrl-C or SIGTERM.

    A job that is under way then goes back into the queue, and whoever takes it goes on from what was measured.
    """
    from casspec.tuner.search.workers.processes import end_with_parent

    if ray_start is not None:
        from casspec.hub.fleet import joining

        output.print(joining.ray_start(ray_start, joining.own_resources(kind)), markup=False, soft_wrap=True)
        return
    if until_eof:
        end_with_parent()
    if ray is not None:
        _place(ray, threads, allow_model, models_in, storage)
        return
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


def _place(
    address: str, threads: int | None, names: tuple[str, ...], directories: tuple[Path, ...], storage: str | None
) -> None:
    from casspec.hub.fleet.cluster import connected
    from casspec.hub.fleet.documents import HostSettings, crossing
    from casspec.hub.fleet.placing import place_jobs
    from casspec.hub.fleet.silence import only_own_lines
    from casspec.storage import open_repository

    places = tuple(str(directory.resolve()) for directory in directories)
    host = HostSettings(storage=crossing(storage), threads=threads, allow_models=names, models_in=places)
    with open_repository(storage) as repository, only_own_lines() as tell:
        tell(f"placing jobs on Ray at {address}")
        nobody_stops = threading.Event()
        with suppress(KeyboardInterrupt):
            place_jobs(repository, lambda: connected(address), host, tell, nobody_stops.wait)
        tell("ended; what was measured is stored")
