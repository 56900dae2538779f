"""A worker beside the hub: a process of its own, started again whenever it ends, and ended with the hub whatever happens."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Between a worker's end and the next one's start; twice as long each time."""

STEADY_S = 60.0
"""A worker that lived as long starts the waits anew."""

SECONDS_TO_END = 12.0


class LocalWorker:
    """Keeps one process running. It holds its standard input open, whose end it takes for the hub's.

    Args:
        command: of the process. environment: what it is told besides this process's own. say: tells the operator.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], say: Callable[[str], None]) -> None:
        self._command, self._environment, self._say = command, environment, say
        self._ending, self._lock = threading.Event(), threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Runs inside the block."""
        keeper = threading.Thread(target=self._keep, name="casspec-local-worker", daemon=True)
        self._start()
        keeper.start()
        try:
            yield
        finally:
            with self._lock:
                self._ending.set()
            self._end()
            keeper.join()

    def _start(self) -> None:
        environment = os.environ | self._environment
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=environment)

    def _keep(self) -> None:
        wait_s = FIRST_WAIT_S
        while self._process is not None:
            begun_s = time.monotonic()
            code = self._process.wait()
            if self._ending.is_set():
                return
            wait_s = FIRST_WAIT_S if time.monotonic() - begun_s > STEADY_S else wait_s
            self._say(f"the worker ended with exit code {code}; another one starts in {wait_s:g} s")
            if self._ending.wait(wait_s):
                return
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            with self._lock:
                if self._ending.is_set():
                    return
                self._start()

    def _end(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
