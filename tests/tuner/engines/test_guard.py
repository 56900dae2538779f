"""Nothing outlives whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from casspec.tuner.engines.guard import descendants
from casspec.tuner.engines.process import GUARD

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the system does not tell of processes")

COMMAND = """
import os, signal, subprocess, sys, time
if "--deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
inside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
outside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(os.getpid(), inside.pid, outside.pid, flush=True)
if "--ends" in sys.argv:
    sys.exit(7)
time.sleep(600)
"""

Guarded = Callable[..., tuple[subprocess.Popen[bytes], list[int]]]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """Starts a guarded command that starts two more; the guard, and the processes of all three."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> tuple[subprocess.Popen[bytes], list[int]]:
        line = [sys.executable, "-I", "-S", str(GUARD), "", sys.executable, "-c", COMMAND, *words]
        variables = {**os.environ, "TMPDIR": str(tmp_path)}
        process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables, start_new_session=True
        )
        started.append(process)
        assert process.stdout is not None
        return process, [int(word) for word in process.stdout.readline().split()]

    yield start
    for process in started:
        process.kill()
        process.wait()


def gone(pids: list[int]) -> bool:
    """Whether all have ended, within half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if not any(is_alive(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_all_end_when_the_parent_is_gone(guarded: Guarded) -> None:
    process, pids = guarded()
    assert all(map(is_alive, pids))
    assert set(pids) <= set(descendants(process.pid))
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(60) == 143
    assert gone(pids)


def test_all_end_when_the_guard_is_asked_to(guarded: Guarded) -> None:
    process, pids = guarded()
    process.terminate()
    assert process.wait(60) == 143
    assert gone(pids)


def test_what_a_command_leaves_behind_ends_with_it(guarded: Guarded) -> None:
    process, pids = guarded("--ends")
    assert process.wait(60) == 7
    assert gone(pids)


def test_the_folder_a_command_is_told_is_gone_with_all_in_it_after_it() -> None:
    leaves = "import os; d = os.environ['ROOM']; open(os.path.join(d, 'left'), 'w').close(); print(d)"
    words = [sys.executable, "-I", "-S", str(GUARD), "ROOM", sys.executable, "-c", leaves]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert process.wait(60) == 0
    assert folder.is_absolute()
    assert not folder.exists()


def test_a_killed_command_is_told_by_the_exit_code(guarded: Guarded) -> None:
    process, pids = guarded()
    os.kill(pids[0], signal.SIGKILL)
    assert process.wait(60) == 137
    assert gone(pids)


def test_a_killed_guard_takes_the_command_along(guarded: Guarded) -> None:
    process, pids = guarded()
    process.kill()
    assert gone(pids[:1])
    for pid in pids[1:]:
        os.kill(pid, signal.SIGKILL)
