"""An engine as a process: started in a group of its own, ready when it answers, and ended with all it started."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from casspec.storage.errors import EngineError

HOST = "127.0.0.1"
READY_SECONDS = 1800.0
END_SECONDS = 30.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks an engine itself, whatever proxy the environment names."""

LOOK_SECONDS = 0.2
LONGEST_REASON = 240
MOMENT_S = 3.0
KILLED = (128 + signal.SIGKILL, 128 + signal.SIGTERM)
"""Exit codes by which a guard tells that the engine was ended from outside."""
GUARD = Path(__file__).with_name("guard.py")


class EngineFailed(EngineError):
    """An engine that has ended or answers no more; the message is the reason in one line. It may do better when it is started again."""


class DoesNotStart(EngineFailed):
    """An engine that gave up before it took a request: it would again."""


class NotReady(DoesNotStart):
    """An engine that took no request within its time."""


class EngineProcess:
    """A process that serves. A context that ends it, and all it started; so does the end of this process, even by SIGKILL.

    Args:
        words: the command line. variables: added to the environment. log: what it prints goes there.
        ready: path that answers 200 once requests are taken.
        scratch: variable by which it is told a folder for files that go when it ends; None for no folder.
    """

    def __init__(
        self,
        words: Sequence[str],
        variables: Mapping[str, str],
        log: Path,
        port: int,
        ready: str,
        scratch: str | None = None,
    ) -> None:
        self.log, self.port, self._ready = log, port, ready
        self._started, self._is_ready = time.monotonic(), False
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), scratch or "", *words],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env={**os.environ, **variables},
                start_new_session=True,  # Ctrl-C is ours to handle
            )

    def __enter__(self) -> EngineProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Of the guard, the first process of the group."""
        return self._process.pid

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> float:
        """Seconds since it was started. Raises EngineFailed where it ends, NotReady where it takes longer than `seconds`."""
        wait_until_answered(f"{self.url}{self._ready}", self._started + seconds, self.check)
        self._is_ready = True
        return time.monotonic() - self._started

    def check(self) -> None:
        """Raises EngineFailed where it has ended; DoesNotStart where it ended of itself before it was ready."""
        code = self._process.poll()
        if code is None:
            return
        was_killed = code < 0 or code in KILLED
        failure = EngineFailed if was_killed or self._is_ready else DoesNotStart
        raise failure(f"the engine ended with code {code}: {last_reason(self.log)} (log: {self.log})")

    def check_soon(self) -> None:
        """As `check`, for whoever has just seen it fail: it may take a moment to end."""
        deadline = time.monotonic() + MOMENT_S
        while time.monotonic() < deadline:
            self.check()
            time.sleep(LOOK_SECONDS)

    def end(self) -> None:
        """Ends it and all it started."""
        end_group(self._process, END_SECONDS)


def end_group(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ends a process that leads a session of its own, and all in it: asked first, made to after `seconds`."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()
    for each in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, each)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def wait_until_answered(url: str, deadline: float, check: Callable[[], None]) -> None:
    """Until `url` answers 200. `deadline`: of `time.monotonic`. `check` raises where there is no use in waiting.

    Raises NotReady after the deadline.
    """
    while time.monotonic() < deadline:
        check()
        with contextlib.suppress(OSError), DIRECT.open(url, timeout=5):
            return
        time.sleep(LOOK_SECONDS)
    raise NotReady(f"{url} did not answer in time")


def last_reason(log: Path) -> str:
    """What a log says last, in one line: the last that names an error, else the last of all."""
    lines = [line.strip() for line in log.read_text("utf-8", errors="replace").splitlines() if line.strip()]
    errors = [
        line
        for line in lines
        if re.search(r"(Error|Exception|error):? ", line) and "Engine core initialization" not in line
    ]
    found = (errors or lines or ["it printed nothing"])[-1]
    return re.sub(r"\x1b\[[0-9;]*m", "", found)[-LONGEST_REASON:]


def free_port(asked: int | None = None) -> int:
    """One that nobody listens at now, or the one asked for. Raises EngineError where that one is in use."""
    with socket.socket() as place:
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            place.bind((HOST, asked or 0))
        except OSError:
            raise EngineError(f"port {asked} is in use: end what listens there, or name another --port") from None
        port: int = place.getsockname()[1]
        return port
