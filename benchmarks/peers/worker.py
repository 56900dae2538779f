"""The parent's end of a worker: JSON lines to and from a process in an environment of its own, with a time limit on each."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import Usage, usage
from casspec.tuner.engines.process import end_group

LOAD_SECONDS = 900
REQUEST_SECONDS = 600
END_SECONDS = 5


class WorkerDied(Exception):
    """A worker that ended, was too slow or reported an error; the message is the reason in one line."""


class Worker:
    """A running process. It computes only between `ask` and its answer, or says how much it did otherwise.

    Args:
        words: the command line.
        log: what it prints.
        variables: added to the environment.
    """

    def __init__(self, words: Sequence[str], log: Path, variables: Mapping[str, str]) -> None:
        self.log = log
        self.idle_seconds = self.idle_cpu_seconds = 0.0
        self._rest: tuple[float, float] | None = None
        self._buffer = b""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env={**os.environ, **variables},
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )

    def ask(self, document: Mapping[str, Any], seconds: float = REQUEST_SECONDS) -> dict[str, Any]:
        """The answer to one line. Raises WorkerDied; the process is ended then."""
        assert self._process.stdin is not None
        if self._process.stdin.closed:
            raise WorkerDied("has ended")
        self._wake()
        try:
            self._process.stdin.write(json.dumps(document).encode() + b"\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._line(seconds))
        except (BrokenPipeError, json.JSONDecodeError):
            answer = {"error": self._last_words()}
        except WorkerDied:
            self.end()
            raise
        if "error" in answer:
            self.end()
            raise WorkerDied(answer["error"])
        self._rest = time.monotonic(), self.usage().cpu_seconds
        return answer

    def usage(self) -> Usage:
        """As of now; of an ended worker nothing is known."""
        return usage(self._process)

    @property
    def idle_load(self) -> float:
        """Share of one core that it took while others computed."""
        return self.idle_cpu_seconds / self.idle_seconds if self.idle_seconds else 0.0

    def end(self) -> None:
        """Ends the process and all it started."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        end_group(self._process, END_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _wake(self) -> None:
        """Counts the rest that ends now."""
        if self._rest is not None:
            since, cpu_seconds = self._rest
            self.idle_seconds += time.monotonic() - since
            self.idle_cpu_seconds += max(0.0, self.usage().cpu_seconds - cpu_seconds)
            self._rest = None

    def _line(self, seconds: float) -> bytes:
        """The next line. Raises WorkerDied at the end of the output or of the time."""
        assert self._process.stdout is not None
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise WorkerDied(f"no answer within {seconds:.0f} s")
            piece = os.read(self._process.stdout.fileno(), 1 << 16)
            if not piece:
                raise WorkerDied(self._last_words())
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _last_words(self) -> str:
        """Why it ended, from its exit code and the last line it printed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        return f"ended with code {self._process.poll()}: {lines[-1][:200] if lines else 'it printed nothing'}"
