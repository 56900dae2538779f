"""`casspec ui`: MLflow's interface on the mirror of calibrations."""

from __future__ import annotations

import os
import subprocess
import sys

import click

from casspec.cli.console import say
from casspec.cli.options import storage_option

SECONDS_TO_STOP = 10


@click.command(name="ui")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, metavar="PORT", help="Port to serve on."
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to serve on.")
@storage_option
def command(port: int, host: str, storage: str | None) -> int:
    """Browse calibrations in the MLflow interface: one run a calibration, a child run each drafter, figures."""
    from sqlalchemy.engine import make_url

    from casspec.storage.errors import StorageError
    from casspec.tuner.companions import companions

    places = companions(storage)
    if not os.path.exists(str(make_url(places.tracking_uri).database)):
        raise StorageError(f"nothing to browse yet beside this database ({places.tracking_uri}): run casspec calibrate")
    say(f"serving http://{host}:{port} (Ctrl-C ends it)")
    server = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", places.tracking_uri]
    server += ["--default-artifact-root", places.artifact_root.as_uri(), "--host", host, "--port", str(port)]
    process = subprocess.Popen(server, env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"})
    try:
        return process.wait()
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C reaches the server too; it gets a moment to end by itself."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
