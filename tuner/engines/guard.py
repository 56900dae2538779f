"""Runs a command and ends it, with all it started, when whoever started the guard is gone. Run by its path, not imported.

Standard input is the line to the parent: it closes when the parent ends, however it ends. The guard then asks all that the command
started to end, and kills whatever is left, processes in groups of their own too. The same happens when the command itself ends, for
an engine's workers may outlive it. A guard that is killed takes the command along (PR_SET_PDEATHSIG), and leaves the rest to its parent.

The first word names the variable by which the command is told a folder that is removed with all in it at the end; it may be empty.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SECONDS_TO_END = 15.0
LOOK_SECONDS = 0.05


def descendants(pid: int) -> list[int]:
    """All below a process, nearest first; [] where the system does not tell."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += [int(word) for word in (task / "children").read_text().split()]
    return found[1:]


def end_below(pid: int, seconds: float) -> None:
    """Asks all below a process to end, and kills who has not after `seconds`."""
    deadline = time.monotonic() + seconds
    for number in (signal.SIGTERM, signal.SIGKILL):
        for each in descendants(pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(each, number)
        while descendants(pid) and (time.monotonic() < deadline or number == signal.SIGKILL):
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if number == signal.SIGKILL:
                for each in descendants(pid):
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(each, number)
            time.sleep(LOOK_SECONDS)


def _control(option: int, value: int) -> None:
    """`prctl`, where there is one."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def main(words: list[str]) -> int:
    """The command's exit code. words: name of the scratch folder's variable, then the command line."""
    scratch, *command = words
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _control(PR_SET_CHILD_SUBREAPER, 1)
    line = os.dup(0)
    ended = threading.Event()

    def dies_with_guard() -> None:
        _control(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(line, 1024):
                pass
        ended.set()

    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    threading.Thread(target=watch, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="casspec-engine-", ignore_cleanup_errors=True) as folder:
        variables = {**os.environ, scratch: folder} if scratch else None
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=variables, preexec_fn=dies_with_guard)
        while not ended.wait(LOOK_SECONDS) and process.poll() is None:
            pass
        code = process.poll()
        end_below(os.getpid(), SECONDS_TO_END)
    return 143 if code is None else code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
