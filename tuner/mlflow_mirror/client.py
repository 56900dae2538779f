"""MLflow's client: quiet, soon tired of a server that does not answer, and with errors of one line that hold no secret."""

from __future__ import annotations

import logging
import os
import re
import textwrap
from typing import TYPE_CHECKING
from urllib.parse import unquote

from casspec.storage.errors import MirrorError
from casspec.tuner.external_databases import ExternalDatabases, is_database, without_secrets

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
}
"""Of MLflow, where the environment has none: its own would wait minutes for every request."""

CONNECT_S = 10
LONGEST_REASON = 240
SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
REFUSALS = {401, 403}


def mlflow_client(databases: ExternalDatabases) -> MlflowClient:
    """Of tracking and registry together. Raises whatever MLflow does, see `unusable`."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    _hush()
    from mlflow.tracking import MlflowClient

    _hush()  # importing mlflow sets its own level
    for uri in dict.fromkeys((databases.tracking_uri, databases.registry_uri)):
        if databases.is_team and is_database(uri):
            _check_database(uri)
    return MlflowClient(tracking_uri=databases.tracking_uri, registry_uri=databases.registry_uri)


def unusable(error: Exception, databases: ExternalDatabases) -> MirrorError | None:
    """What to raise in place of an error of MLflow's; None for one that is a bug here.

    A server of a team may fail in any way, our own database only in MLflow's.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import DBAPIError

    if databases.is_team:
        if _status(error) in REFUSALS:
            return MirrorError(
                f"MLflow at {databases.shown} refuses (status {_status(error)}{_body(error)}): set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, of a user who may write there"
            )
        return MirrorError(
            f"MLflow at {databases.shown} cannot be used ({_reason(error, databases)}): check MLFLOW_TRACKING_URI and its server"
        )
    refuses_value = getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE"
    if refuses_value or not isinstance(error, MlflowException | DBAPIError):
        return None
    return MirrorError(
        f"MLflow's database {databases.shown.partition(':///')[2]} cannot be used ({_reason(error, databases)}): what was "
        "measured is stored elsewhere; mend that database or move it away, then run the same command again"
    )


def redacted(text: str, databases: ExternalDatabases) -> str:
    """Without the passwords and tokens that addresses and the environment hold."""
    secrets = {os.environ.get(name, "") for name in SECRETS}
    for uri in (databases.tracking_uri, databases.registry_uri):
        text = text.replace(uri, without_secrets(uri))
        password = uri.partition("://")[2].rpartition("@")[0].partition(":")[2]
        secrets |= {password, unquote(password)}
    for secret in secrets - {""}:
        text = text.replace(secret, "***")
    return re.sub(r"://[^\s/@]*@", "://", text)


def _reason(error: Exception, databases: ExternalDatabases) -> str:
    """What an operating system said, where it did, else the first line."""
    if isinstance(error, ModuleNotFoundError):
        return f"it needs {error.name}, which is not installed"
    text = redacted(str(error), databases)
    plain = re.search(
        r"\[Errno -?\d+\] ([\w ,]+)|((?:read |connection )?timed out|too many \d+ error responses)", text, re.IGNORECASE
    )
    if plain:
        return (plain[1] or plain[2]).strip().lower()
    return textwrap.shorten(text.partition("\n")[0] or type(error).__name__, LONGEST_REASON, placeholder=" ...")


def _status(error: Exception) -> int | None:
    """Of the answer that an error tells of."""
    if status := getattr(getattr(error, "response", None), "status_code", None):
        return int(status)
    # MLflow knows most answers by names of its own, and says the number of a page that is not JSON.
    told = re.search(r"failed with error code (\d+)", str(error))
    if told:
        return int(told[1])
    codes = {"UNAUTHENTICATED": 401, "CUSTOMER_UNAUTHORIZED": 401, "PERMISSION_DENIED": 403}
    return codes.get(str(getattr(error, "error_code", None)))


def _body(error: Exception) -> str:
    """What the answer says, where it is a plain sentence: a server that does not know its own name says so."""
    told = re.search(r"Response body: '([^<\n']{1,120})'", str(error))
    return f": {told[1]}" if told else ""


def _check_database(uri: str) -> None:
    """Raises where it does not answer: MLflow would try for minutes, and say so each time."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    backend = make_url(uri).get_backend_name()
    if backend == "sqlite":
        return
    engine = create_engine(uri, connect_args={"connect_timeout": CONNECT_S} if backend != "mssql" else {})
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _hush() -> None:
    """Neither what MLflow logs of itself, nor every try of a request."""
    for library, level in (("mlflow", logging.WARNING), ("alembic", logging.WARNING), ("urllib3", logging.ERROR)):
        logging.getLogger(library).setLevel(level)
