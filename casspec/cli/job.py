"""`casspec job`: calibrations on machines that a hub has workers on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from casspec.cli.console import output, say
from casspec.cli.options import DTYPES

if TYPE_CHECKING:
    from casspec.hub.client import HubClient
    from casspec.storage.jobs.documents import Job

Function = TypeVar("Function", bound=Callable[..., Any])

EXIT_NOT_DONE = 1

hub_option = click.option(
    "--hub",
    default="http://127.0.0.1:8100",
    show_default=True,
    metavar="URL",
    envvar="CASSPEC_HUB",
    show_envvar=True,
    help="Where the hub is; a key goes in CASSPEC_HUB_KEY.",
)


@click.group(name="job")
def command() -> None:
    """Submit calibrations to a hub, watch, list and cancel them, and read their logs."""


@command.command()
@click.argument("model", default="reference")
@click.option(
    "--device", default="cpu", show_default=True, metavar="KIND", help="Kind of device: cpu, or the name of a GPU."
)
@click.option("--dtype", type=click.Choice(DTYPES), help="As of `casspec calibrate`.")
@click.option(
    "--suite",
    metavar="SUITE",
    help="chat, reference, or a file of JSON lines, which is sent along.",
)
@click.option("--quick", is_flag=True, default=None, help="Less of everything and no benchmark.")
@click.option("--force", is_flag=True, default=None, help="Measure again although this calibration is stored.")
@click.option("--bench/--no-bench", default=None, help="End with a benchmark of the profile.")
@click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Most drafters to evaluate.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Seed of everything random.")
@click.option("--watch", "watched", is_flag=True, help="Stay until it has ended.")
@hub_option
def submit(model: str, device: str, suite: str | None, watched: bool, hub: str, **settings: Any) -> int:
    """Queue a calibration of MODEL and print the job's ID."""
    client = _client(hub)
    asked = {name: value for name, value in settings.items() if value is not None}
    prompts = None if suite is None else _file(suite)
    if suite is not None and prompts is None:
        asked["suite"] = suite
    job = client.submit(model, device, prompts, **asked)
    click.echo(job.job_id)
    return _watch(client, job.job_id) if watched else 0


@command.command()
@click.argument("job_id", metavar="ID")
@hub_option
def watch(job_id: str, hub: str) -> int:
    """Tell how far job ID is until it has ended; exit code 1 where it is not done then."""
    return _watch(_client(hub), job_id)


@command.command(name="list")
@click.option("--status", type=click.Choice(["queued", "running", "done", "failed", "cancelled"]), help="Only these.")
@click.option("--device", metavar="KIND", help="Only those of a kind of device.")
@click.option("--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="Most to show.")
@hub_option
def list_(status: Any, device: str | None, limit: int, hub: str) -> None:
    """List jobs, the latest first."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("job", "status", "model", "device", "stage", "submitted", "profile or reason"):
        table.add_column(heading, no_wrap=heading in ("job", "status", "submitted"))
    for job in _client(hub).jobs(status, device, limit):
        outcome = job.message or (job.profile_hash or "")[:12]
        cells = (
            job.job_id,
            job.status,
            job.request.model,
            job.request.device,
            _stage(job),
            job.submitted_at[:16],
            outcome,
        )
        table.add_row(*map(Text, cells))
    output.print(table)


@command.command()
@click.argument("job_id", metavar="ID")
@hub_option
def logs(job_id: str, hub: str) -> None:
    """Print what the workers of job ID said, the latest lines of it."""
    for line in _client(hub).logs(job_id):
        click.echo(f"{line.at[:19]} {line.text}")


@command.command()
@click.argument("job_id", metavar="ID")
@hub_option
def cancel(job_id: str, hub: str) -> None:
    """Cancel job ID: a queued one at once, a running one at its next step."""
    say(_line(_client(hub).cancel(job_id)))


def _file(suite: str) -> Path | None:
    """Where the prompts lie; None for a name. A path of nothing is a mistake, since no name looks like one."""
    file = Path(suite).expanduser()
    if file.is_file():
        return file
    if file.suffix or len(file.parts) > 1 or file.is_dir():
        raise click.UsageError(
            f"--suite {suite}: there is no such file; expected chat, reference or a file of JSON lines"
        )
    return None


def _client(hub: str) -> HubClient:
    from casspec.hub.client import HubClient

    return HubClient(hub)


def _watch(client: HubClient, job_id: str) -> int:
    last, told = None, ""
    for last in client.watch(job_id):
        line = _line(last)
        if line != told:
            say(line)
        told = line
    return 0 if last is not None and last.status == "done" else EXIT_NOT_DONE


def _line(job: Job) -> str:
    """Status, stage and outcome of a job."""
    if job.status == "done":
        return f"{job.job_id} done: profile {(job.profile_hash or '')[:12]}"
    if job.status == "failed":
        return f"{job.job_id} failed: {job.message}"
    asked = ", to be cancelled" if job.cancel_asked and not job.has_ended else ""
    estimate = job.progress.estimate_s
    about = "" if estimate is None or job.has_ended else f", about {estimate / 60:.0f} min in all"
    return f"{job.job_id} {job.status}{asked} {_stage(job)}{about}".rstrip()


def _stage(job: Job) -> str:
    progress = job.progress
    count = "" if not progress.done and progress.total is None else f" {progress.done}"
    return f"{progress.stage}{count}{'' if progress.total is None else f'/{progress.total}'}".strip()
