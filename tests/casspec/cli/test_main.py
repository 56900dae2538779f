"""The `casspec` command: what each kind of failure prints and which exit code it leaves."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from types import ModuleType

import click
import pytest

from casspec.cli import main as cli
from casspec.storage.errors import CasspecError, ProfileNotFound

Run = Callable[[Callable[[], object]], tuple[int, list[str]]]


def module_with(body: Callable[[], object]) -> ModuleType:
    module = ModuleType("a_command_of_the_tests")
    module.command = click.command()(body)  # type: ignore[attr-defined]
    return module


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a function as the command `casspec probe`; gives its exit code and what it wrote to stderr, by line."""

    def as_command(body: Callable[[], object]) -> tuple[int, list[str]]:
        module = module_with(body)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, "probe", cli.Entry(module.__name__, "a command of the tests"))
        code = cli.main(["probe"])
        return code, [line for line in capsys.readouterr().err.splitlines() if line]

    return as_command


def raises(error: BaseException) -> Callable[[], object]:
    def body() -> None:
        raise error

    return body


def test_a_command_that_returns_exits_with_zero(run: Run) -> None:
    assert run(lambda: None) == (0, [])


def test_a_command_may_choose_its_exit_code(run: Run) -> None:
    assert run(lambda: click.get_current_context().exit(3)) == (3, [])


@pytest.mark.parametrize("error", [CasspecError("no such thing"), ProfileNotFound("no such thing")])
def test_a_user_error_is_one_line_and_exit_code_two(run: Run, error: CasspecError) -> None:
    assert run(raises(error)) == (2, ["error: no such thing"])


def test_a_message_of_several_lines_is_folded_into_one(run: Run) -> None:
    assert run(raises(CasspecError("line one\n  line two"))) == (2, ["error: line one line two"])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interruption_is_one_line_and_exit_code_130(run: Run, error: BaseException) -> None:
    assert run(raises(error)) == (130, ["interrupted"])


def test_a_command_can_say_what_an_interruption_left_behind(run: Run) -> None:
    assert run(raises(click.Abort("12 points are stored"))) == (130, ["interrupted: 12 points are stored"])


def test_a_truncated_file_is_not_taken_for_an_interruption(run: Run) -> None:
    code, (line,) = run(raises(EOFError("ran out of input")))
    assert code == 1
    assert "EOFError: ran out of input" in line


def test_what_takes_its_time_in_the_library_is_said_while_a_command_runs(run: Run, capsys) -> None:
    progress = logging.getLogger("casspec.progress")
    assert run(lambda: progress.info("compiling [once]")) == (0, ["compiling [once]"])
    progress.info("nobody asked")
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_one_line_that_names_the_file(run: Run) -> None:
    code, (line,) = run(raises(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "report.json")))
    assert code == 2
    assert line.startswith("error: no space left")
    assert "report.json" in line


def test_a_refused_file_is_one_line_that_names_it(run: Run) -> None:
    code, (line,) = run(raises(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "report.json")))
    assert code == 2
    assert "report.json" in line


def test_a_missing_extra_is_named_with_the_command_that_installs_it(run: Run) -> None:
    code, (line,) = run(raises(ModuleNotFoundError("No module named 'sqlalchemy.orm'", name="sqlalchemy.orm")))
    assert code == 2
    assert "pip install 'casspec[calibrate]'" in line


def test_an_unexpected_exception_is_called_a_bug(run: Run) -> None:
    code, (line,) = run(raises(ZeroDivisionError("division by zero")))
    assert code == 1
    assert line == "error: ZeroDivisionError: division by zero (this is a bug, run with CASSPEC_DEBUG=1)"


@pytest.mark.parametrize(("error", "code"), [(ZeroDivisionError("oh"), 1), (CasspecError("oh"), 2)])
def test_debugging_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int) -> None:
    monkeypatch.setenv("CASSPEC_DEBUG", "1")
    exit_code, lines = run(raises(error))
    assert exit_code == code
    assert lines[0].startswith("Traceback")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["calibrat"], "casspec --help"), (["--nope"], "casspec --help"), (["probe", "--nope"], "casspec probe --help")],
)
def test_wrong_usage_is_one_line_that_points_to_help(
    run: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    run(lambda: None)
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: No such")
    assert f"`{hint}`" in line


def casspec(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "casspec", *arguments], capture_output=True, text=True, cwd="/")


def test_help_lists_every_command_in_well_under_half_a_second() -> None:
    fastest_s = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        shown = casspec("--help")
        fastest_s = min(fastest_s, time.perf_counter() - started)
    assert shown.returncode == 0
    assert all(f"\n  {name} " in shown.stdout for name in cli.COMMANDS)
    assert fastest_s < 0.4


def test_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert casspec("--version").stdout.split()[-1] == version("casspec")


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_listed_command_exists_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert f"Usage: casspec {name}" in capsys.readouterr().out


PROBE = """
import sys, time, types, click
from casspec.cli import main as cli
def body():
    {body}
module = types.ModuleType("probe_module")
module.command = click.command()(body)
sys.modules["probe_module"] = module
cli.COMMANDS["probe"] = cli.Entry("probe_module", "")
sys.exit(cli.main(["probe"]))
"""


@pytest.mark.parametrize("ends", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_a_running_command_without_a_traceback(ends: signal.Signals) -> None:
    script = PROBE.format(body="print('ready', flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", script], stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(ends)
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr.split() == ["interrupted"]


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_leaves_early_causes_no_complaint(lines: int) -> None:
    script = PROBE.format(body=f"sys.stdin.read(); [print('row') for _ in range({lines})]")
    with subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
