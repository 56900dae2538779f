from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from casspec.hub.working import local_worker
from casspec.hub.working.local_worker import LocalWorker

UNTIL_EOF = (
    "import sys; from pathlib import Path\nPath(sys.argv[1]).touch(); sys.stdin.read(); Path(sys.argv[1]).unlink()"
)


def test_a_worker_ends_with_the_block(tmp_path: Path) -> None:
    worker = LocalWorker([sys.executable, "-c", UNTIL_EOF, str(tmp_path / "up")], {}, print)
    with worker.running():
        assert worker._process is not None
        assert worker._process.poll() is None
    assert worker._process.returncode == 0
    assert not (tmp_path / "up").exists()


def test_a_worker_that_ends_is_started_again_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_worker, "FIRST_WAIT_S", 0.01)
    told, enough = list[str](), threading.Event()

    def say(line: str) -> None:
        told.append(line)
        if len(told) == 2:
            enough.set()

    with LocalWorker([sys.executable, "-c", "raise SystemExit(3)"], {}, say).running():
        assert enough.wait(60)
    assert "exit code 3" in told[0]
    assert told[1].endswith("starts in 0.02 s")
