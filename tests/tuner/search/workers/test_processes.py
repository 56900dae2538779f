"""Processes that help a search: started, told of, and never outliving the command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from casspec.tuner.search.workers.processes import WorkerPool, share_of

SLEEPS = """
import time
from collections.abc import Iterator
from contextlib import contextmanager
from casspec.tuner.search.workers.processes import end_with_parent
end_with_parent()
print("up", flush=True)
while True:  # like a worker between two trials: one long sleep would not be interrupted
    time.sleep(0.05)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def remembered() -> Iterator[list[subprocess.Popen]]:
    """The processes that are started inside the block."""
    started: list[subprocess.Popen] = []
    popen = subprocess.Popen

    class Remembering(popen):  # type: ignore[type-arg, misc, valid-type]
        def __init__(self, *arguments, **options) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", Remembering)
        yield started


def test_a_pool_shares_threads_and_ends_with_its_block() -> None:
    workers, before = WorkerPool(2, [sys.executable, "-c", SLEEPS]), torch.get_num_threads()
    assert (workers.size, share_of(8, 3), share_of(1, 3)) == (3, 2, 1)
    with remembered() as started, workers.at_work("id"):
        pids = [process.pid for process in started]
        assert len(pids) == 2
        assert all(map(is_running, pids))
    assert not any(map(is_running, pids))
    assert torch.get_num_threads() == before


def test_a_worker_that_ends_early_is_told_of_and_hurts_nobody() -> None:
    said: list[str] = []
    dies = "import sys; print('error: no such model', file=sys.stderr); sys.exit(2)"
    with remembered() as started, WorkerPool(1, [sys.executable, "-c", dies], say=said.append).at_work("id"):
        (worker,) = started
        worker.wait()
    assert said == ["a worker ended early, the others did its part: error: no such model"]


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_worker_gives_up_in_order_though_a_shell_ignores_ctrl_c_for_it() -> None:
    ignored = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + SLEEPS
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", ignored], text=True, **pipes) as worker:  # type: ignore[call-overload]
        assert worker.stdout.readline() == "up\n"
        worker.stdin.close()
        assert "KeyboardInterrupt" in worker.stderr.read()


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_no_worker_outlives_a_command_that_is_killed() -> None:
    script = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    deadline = time.monotonic() + 30
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not is_running(child)
