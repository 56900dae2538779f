"""`casspec report`: everything about a calibration on one HTML page."""

from __future__ import annotations

from pathlib import Path

import click

from casspec.cli.console import say
from casspec.cli.options import storage_option


@click.command(name="report")
@click.argument("profile", metavar="ID", default="latest")
@click.option(
    "--output",
    "output_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Where to write, - for standard output; by default casspec-ID.html here.",
)
@storage_option
def command(profile: str, output_file: Path | None, storage: str | None) -> None:
    """Write a page about a profile: its decision, cascade, predicted and measured speedup, search, latency model, benchmark.

    The page loads nothing from elsewhere. ID is as in `casspec profiles`, by default the latest.
    """
    from casspec.storage import open_repository
    from casspec.storage.errors import UnsupportedOption
    from casspec.storage.export.json_profile import write_whole
    from casspec.tuner.calibration_history import CalibrationHistory
    from casspec.tuner.report_page import render_page

    with open_repository(storage) as repository:
        calibrated = CalibrationHistory.of_profile(repository, profile)
    page = render_page(calibrated)
    if output_file == Path("-"):
        click.echo(page)
        return
    file = output_file or Path(f"casspec-{calibrated.profile.profile_id}.html")
    if not file.parent.is_dir():
        raise UnsupportedOption(f"--output {file}: {file.parent} is no directory; make it or name another file")
    write_whole(file, page.encode())
    say(f"wrote {file} ({len(page.encode()) / 1024:.0f} KiB)")
