"""The `casspec` command: a group that imports a command's module only when that command runs, and the one place where
exceptions become exit codes.

Importing torch or MLflow costs seconds, so this module imports click and the standard library only; the list shown by
`casspec --help` comes from a table.

Exit codes: 0 done, 1 a bug or a closed pipe, 2 an error the user can mend, 130 Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import click

from casspec.storage.errors import CasspecError

EXIT_BUG = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


class Entry(NamedTuple):
    """Where a command lives (a module that exposes `command`) and the line that lists it."""

    module: str
    summary: str


COMMANDS = {
    "calibrate": Entry("casspec.cli.calibrate", "Profile, search drafters, store and benchmark a cascade."),
    "generate": Entry("casspec.cli.generate", "Decode a prompt with a stored cascade and stream the text."),
    "chat": Entry("casspec.cli.chat", "Talk with a chat model in the terminal."),
    "serve": Entry("casspec.cli.serve", "Serve a model to OpenAI's clients, many texts at a time."),
    "hub": Entry("casspec.cli.hub", "Queue calibrations over HTTP, run them, and hand out their profiles."),
    "job": Entry("casspec.cli.job", "Submit calibrations to a hub, watch, list and cancel them."),
    "worker": Entry("casspec.cli.worker", "Run queued calibrations on a device of this machine."),
    "bench": Entry("casspec.cli.bench", "Compare decoding methods side by side on a prompt suite."),
    "engine": Entry("casspec.cli.engine", "Tune how another engine speculates, and compare endpoints."),
    "replay": Entry(
        "casspec.cli.replay", "Predict what methods gain on recordings, and how far they are from the bounds."
    ),
    "profile": Entry("casspec.cli.profile", "Measure latency on this device and fit the latency model."),
    "tune": Entry("casspec.cli.tune", "Search on for drafters, or tune the methods by real decodes."),
    "models": Entry("casspec.cli.models", "List the model families that are covered, or check one model."),
    "profiles": Entry("casspec.cli.profiles", "List, show, compare, promote and delete stored cascade profiles."),
    "report": Entry("casspec.cli.report", "Write everything about a calibration on one HTML page."),
    "export": Entry("casspec.cli.export", "Write a profile for another engine, or as JSON."),
    "import": Entry("casspec.cli.import_", "Read a profile, or skip sets to start a search from."),
    "db": Entry("casspec.cli.db", "Create, upgrade and check the database."),
    "ui": Entry("casspec.cli.ui", "Browse calibrations in the MLflow interface."),
    "reference": Entry("casspec.cli.reference", "Train the reference model and list its prompt suite."),
    "testbed": Entry("casspec.cli.testbed", "Make a wider model of the reference's function, for real latencies."),
}

_EXTRA_OF_LIBRARY = {
    "optuna": "calibrate",
    "sklearn": "calibrate",
    "threadpoolctl": "calibrate",
    "sqlalchemy": "calibrate",
    "alembic": "calibrate",
    "mlflow": "calibrate",
    "matplotlib": "calibrate",
    "jinja2": "calibrate",
    "filelock": "calibrate",
    "psycopg": "postgres",
    "fastapi": "server",
    "starlette": "server",
    "uvicorn": "server",
    "prometheus_client": "server",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when asked for, never to be listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        return importlib.import_module(entry.module).command if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="casspec", prog_name="casspec")
def casspec() -> None:
    """Calibrate a language model once per device, then decode it faster and losslessly with a cascade of drafters."""


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line (`sys.argv[1:]` unless `args` is given) and returns the exit code."""
    # Or the interpreter searches all of torch and MLflow for cycles before it ends, which takes a second.
    atexit.register(gc.freeze)
    with contextlib.suppress(ValueError):  # not the main thread: whoever called from it handles signals
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C does, lose nothing
    try:
        with _notes_said():
            outcome = casspec.main(args=args, prog_name="casspec", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence_stdout()
        return EXIT_BUG
    except (KeyboardInterrupt, click.Abort) as interruption:
        if isinstance(
            interruption.__cause__, EOFError
        ):  # click takes any EOFError for Ctrl-D; a truncated file is none
            return _fail(interruption.__cause__, *_describe(interruption.__cause__))
        return _fail(interruption, _line("interrupted", str(interruption)), EXIT_INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as usage:
        usage.show()
        return EXIT_USER_ERROR
    except Exception as error:
        return _fail(error, *_describe(error))
    return outcome if isinstance(outcome, int) else 0


class _Sayer(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from casspec.cli.console import say

        say(record.getMessage())


@contextlib.contextmanager
def _notes_said() -> Iterator[None]:
    """What takes its time in the library, which is silent about it by itself, is said, beside bars where there are any."""
    logger, sayer = logging.getLogger("casspec.progress"), _Sayer()
    level = logger.level
    logger.addHandler(sayer)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(sayer)
        logger.setLevel(level)


def _describe(error: Exception) -> tuple[str, int]:
    """The line to print for an exception, and the exit code."""
    if isinstance(error, CasspecError):
        return _line("error", str(error)), error.exit_code
    if isinstance(error, click.UsageError):
        hint = f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""
        return _line("error", error.format_message().rstrip(".") + hint), EXIT_USER_ERROR
    if isinstance(error, click.ClickException):
        return _line("error", error.format_message()), EXIT_USER_ERROR
    if isinstance(error, OSError) and (reason := _environment_fault(error)):
        return _line("error", reason), EXIT_USER_ERROR
    if isinstance(error, ModuleNotFoundError) and (advice := _missing_extra(error)):
        return _line("error", advice), EXIT_USER_ERROR
    name = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return _line("error", f"{name} (this is a bug, run with CASSPEC_DEBUG=1)"), EXIT_BUG


def _environment_fault(error: OSError) -> str | None:
    """What the machine refused, when the fault lies with the machine and not with casspec."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk{where}; free some space and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"not allowed to read or write{where}; check the permissions or name another place"
    return None


def _missing_extra(error: ModuleNotFoundError) -> str | None:
    """How to install the library that a serving host goes without, when that is what is missing."""
    library = (error.name or "").partition(".")[0]
    if library not in _EXTRA_OF_LIBRARY:
        return None
    extra = _EXTRA_OF_LIBRARY[library]
    return f"this command needs {library}, which is not installed; run: pip install 'casspec[{extra}]'"


def _fail(error: BaseException, line: str, code: int) -> int:
    if os.environ.get("CASSPEC_DEBUG") == "1":
        traceback.print_exception(error)
    click.echo(line, err=True)
    return code


def _line(prefix: str, text: str) -> str:
    folded = " ".join(text.split())
    return f"{prefix}: {folded}" if folded else prefix


def _silence_stdout() -> None:
    """The reader of our output has gone: keep the interpreter from failing again when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
