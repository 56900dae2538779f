"""A virtual environment a peer, made once and kept.

A folder is named by package, version and interpreter. `installed.json` in it says that it is complete and how long that
took. A folder without it is what an interrupted installation left, and is made anew. `NAME.failed` beside it holds the
reason of a failure, so that it is not tried again at every run.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement

from benchmarks.peers.engines import Engine

INSTALL_SECONDS = 3600
"""Longest a step may take: llama.cpp is compiled where no wheel fits."""

COMPLETE = "installed.json"

Run = Callable[[Sequence[str]], None]


class PeerUnavailable(Exception):
    """A peer that cannot take part; the message is the reason in one line."""


@dataclass(frozen=True)
class Environment:
    """An interpreter that has the engine."""

    python: Path
    seconds: float | None = None
    """That the installation took, at the time it was made; None for casspec's own interpreter."""


def environment(engine: Engine, folder: Path, again: bool = False, run: Run | None = None) -> Environment:
    """The engine's environment below `folder`, made where it is missing.

    Args:
        again: try an installation that failed before once more.
        run: runs a command and raises PeerUnavailable where it fails.

    Raises PeerUnavailable.
    """
    if engine.package is None:
        return Environment(Path(sys.executable))
    home = home_of(engine, folder)
    failure = folder / f"{home.name}.failed"
    python = home / "bin" / "python"
    if is_complete(home):
        return Environment(python, json.loads((home / COMPLETE).read_text("utf-8"))["seconds"])
    if failure.is_file() and not again:
        raise PeerUnavailable(f"{failure.read_text('utf-8').strip()} (--install tries again)")
    shutil.rmtree(home, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    print(f"installing {engine.package} {engine.version} into {home}", file=sys.stderr, flush=True)
    try:
        install(engine, home, python, run or run_logged(folder / f"{home.name}.log"))
    except PeerUnavailable as error:
        failure.write_text(f"{error}\n", encoding="utf-8")
        raise
    failure.unlink(missing_ok=True)
    seconds = time.perf_counter() - started
    (home / COMPLETE).write_text(json.dumps({"seconds": seconds}), encoding="utf-8")
    return Environment(python, seconds)


def home_of(engine: Engine, folder: Path) -> Path:
    """Its environment's folder."""
    return folder / f"{engine.package}-{engine.version}-py{sys.version_info.major}{sys.version_info.minor}"


def is_complete(home: Path) -> bool:
    """Whether an environment was made there, and not merely begun."""
    return (home / COMPLETE).is_file()


def install(engine: Engine, home: Path, python: Path, run: Run) -> None:
    """Makes the environment and installs the engine as a user would, but for the requirements it is to go without."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    pinned = f"{engine.package}=={engine.version}"
    run([sys.executable, "-m", "venv", str(home)])
    if engine.is_bare:
        run([*pip, "install", *engine.before])
        run([*pip, "install", "--no-deps", pinned])
        return
    if not engine.without:
        run([*pip, "install", *engine.before, pinned])
        return
    wheels = home / "wheels"
    run([*pip, "download", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels), pinned])
    wheel = next(wheels.glob("*.whl"))
    run([*pip, "install", *engine.before])
    run([*pip, "install", *requirements(wheel, engine.without)])
    run([*pip, "install", "--no-deps", str(wheel)])
    shutil.rmtree(wheels)


def requirements(wheel: Path, without: Sequence[str]) -> list[str]:
    """What a wheel requires on this machine without extras, less the packages named."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode("utf-8"))
    wanted = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    here = [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    return [str(each) for each in here if each.name not in without]


def run_logged(log: Path, seconds: float = INSTALL_SECONDS) -> Run:
    """Runs commands whose output goes to a file; raises PeerUnavailable with the last line that says what went wrong."""

    def run(words: Sequence[str]) -> None:
        with log.open("a", encoding="utf-8") as output:
            output.write(f"$ {' '.join(words)}\n")
            output.flush()
            begin = output.tell()
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise PeerUnavailable(f"installing took more than {seconds / 60:.0f} minutes; see {log}") from None
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # an interrupted build leaves no compiler running
                process.wait()
        if code:
            raise PeerUnavailable(f"{last_error(log.read_bytes()[begin:].decode('utf-8', 'replace'))}; see {log}")

    return run


def last_error(output: str) -> str:
    """The last line that begins with "error", else the last line, shortened."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
    errors = [line for line in lines if line.lower().startswith(("error", "fatal"))]
    return (errors or lines)[-1][:300]
