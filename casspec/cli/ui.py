"""`casspec ui`: MLflow's interface on the mirror of calibrations."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import click

from casspec.cli.console import say
from casspec.cli.options import storage_option

if TYPE_CHECKING:
    from casspec.tuner.external_databases import ExternalDatabases

SECONDS_TO_STOP = 10

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
"""No telemetry, and none of the background workers that evaluations of language models would need."""

OUR_STORES = {"MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"}
"""What clients are told, and a server is not to take for more."""


@click.command(name="ui")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=5000, show_default=True, metavar="PORT", help="Port to serve on."
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="HOST", help="Address to serve on.")
@storage_option
def command(port: int, host: str, storage: str | None) -> int:
    """Browse calibrations in the MLflow interface: one run a calibration, child runs for its parts, profiles as model versions.

    Where MLFLOW_TRACKING_URI names a tracking server, that has an interface of its own: its address is printed.
    """
    from casspec.storage.errors import StorageError
    from casspec.tuner.external_databases import external_databases
    from casspec.tuner.mlflow_mirror.mirror import MLflowMirror

    databases = external_databases(storage)
    if not databases.mirrored:
        raise StorageError(
            f"nothing to browse yet beside this database ({databases.tracking_uri}): run casspec calibrate"
        )
    if databases.tracking_uri.startswith(("http://", "https://")):
        mirror = MLflowMirror(databases)
        _make_up(databases, storage)
        click.echo(f"{databases.shown.rstrip('/')}/{mirror.page}")
        return 0
    _check_free(host, port)
    # In a session of its own: Ctrl-C and SIGTERM reach this process only, which then ends the server in an orderly way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    theirs = {name: value for name, value in os.environ.items() if name not in OUR_STORES}
    environment = theirs | QUIET | _stores(databases)
    server = [sys.executable, "-m", "mlflow", "ui", "--host", host, "--port", str(port), "--workers", "1"]
    process = subprocess.Popen(server, env=environment, start_new_session=True)
    try:
        _make_up(databases, storage)
        say(f"serving http://{host}:{port}/{MLflowMirror(databases).page} (Ctrl-C ends it)")
        return process.wait()
    finally:
        _stop(process)


def _make_up(databases: ExternalDatabases, storage: str | None) -> None:
    """Tells MLflow what it could not be told before."""
    from casspec.storage import open_repository
    from casspec.tuner.mlflow_mirror.owed import Owed
    from casspec.tuner.mlflow_mirror.telling import make_up

    if Owed(databases.owed).debts():
        with open_repository(storage) as repository:
            make_up(repository, databases)


def _stores(databases: ExternalDatabases) -> dict[str, str]:
    """What MLflow's server reads, in its environment: an address may hold a password, which a command line would show."""
    told = {"MLFLOW_BACKEND_STORE_URI": databases.tracking_uri, "MLFLOW_REGISTRY_STORE_URI": databases.registry_uri}
    if databases.artifact_root is not None:
        told["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = databases.artifact_root.as_uri()
    return told


def _check_free(host: str, port: int) -> None:
    """Raises UnsupportedOption where the server could not listen: it would say so in its own words and end with 0."""
    from casspec.storage.errors import UnsupportedOption

    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UnsupportedOption(
            f"cannot serve on {host}:{port} ({error.strerror or error}); name another --port or --host"
        ) from None


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and its workers."""
    if process.poll() is not None:
        return
    _signal(process, signal.SIGTERM)
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        _signal(process, signal.SIGKILL)
        process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if hasattr(os, "killpg"):
        os.killpg(process.pid, number)
    else:
        process.terminate()
