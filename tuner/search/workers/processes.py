"""Processes that help with a search: started beside the one that calibrates, and ended with it whatever happens.

A worker holds its standard input open and ends when that closes. So none outlives the process that started it, not even
one that was killed.
"""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from casspec.profiler.progress import Tell

SECONDS_TO_END = 10


@dataclass(frozen=True)
class WorkerPool:
    """Workers on one machine that share its threads.

    Args:
        others: processes to start beside this one.
        command: of a process that joins a search; the calibration's ID follows.
        environment: what they are told besides this process's own environment.
        say: told, in a line, of a worker that ended before the search did.
    """

    others: int = 0
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    say: Tell = print

    @property
    def size(self) -> int:
        """Workers in all."""
        return 1 + self.others

    @contextmanager
    def at_work(self, calibration_id: str) -> Iterator[None]:
        """The others are at work inside the block; this process computes with its share of the threads."""
        if not self.others:
            yield
            return
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(share_of(threads, self.size))
        try:
            with ExitStack() as stack:
                for _ in range(self.others):
                    stack.enter_context(self._worker(calibration_id))
                yield
        finally:
            torch.set_num_threads(threads)

    @contextmanager
    def _worker(self, calibration_id: str) -> Iterator[None]:
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                [*self.command, calibration_id],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=os.environ | self.environment,
            )
            # Waited for at once: a dead process that nobody has waited for still looks alive to the other workers.
            threading.Thread(target=process.wait, daemon=True).start()
            try:
                yield
                if process.poll():
                    log.seek(0)
                    lines = log.read().decode(errors="replace").split("\n")
                    last = next((line for line in reversed(lines) if line.strip()), f"exit code {process.returncode}")
                    self.say(f"a worker ended early, the others did its part: {last.strip()}")
            finally:
                _end(process)


NOBODY = WorkerPool()
"""No further workers."""


def share_of(threads: int, size: int) -> int:
    """Threads of each of `size` workers."""
    return max(threads // size, 1)


def end_with_parent() -> None:
    """Interrupts this process when its standard input closes: whoever started it has ended, or wants it to end.

    Called in the main thread.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started all of us with it ignored

    def watch() -> None:
        while os.read(0, 1024):
            pass
        _thread.interrupt_main()
        time.sleep(SECONDS_TO_END)  # to give up its lease in order
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
