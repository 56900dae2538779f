"""A worker process: its answers, its ways to die, what is known of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.worker import Worker, WorkerDied

FAKE = Path(__file__).parent / "fake_worker.py"
SETTINGS = {"model": "m", "method": "plain"}


def request(first: int = 9) -> dict[str, Any]:
    return {"ids": [first, 9], "tokens": 5, "temperature": 0.0, "seed": 3}


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    started = Worker([sys.executable, str(FAKE)], tmp_path / "log", {"WORD": "x"})
    yield started
    started.end()


def is_running(worker: Worker) -> bool:
    return worker._process.poll() is None


def test_answers_follow_requests_whatever_the_engine_prints(worker: Worker) -> None:
    ready = worker.ask(SETTINGS)
    assert ready["engine"] == "fake 1.0, plain"
    for first in (9, 4):
        answer = worker.ask(request(first))
        assert answer["ids"] == [3, 4, 5, 6, 7]
        assert answer["first_tokens"] == 1
        assert 0 <= answer["first_ms"] <= answer["total_ms"]
    assert "banner" in worker.log.read_text()


@pytest.mark.parametrize(
    ("first", "reason"),
    [(1, "ended with code 7: luck"), (2, "RuntimeError: cannot do that"), (3, "no answer within 0 s")],
)
def test_a_worker_that_fails_is_ended_with_its_reason(worker: Worker, first: int, reason: str) -> None:
    worker.ask(SETTINGS)
    with pytest.raises(WorkerDied, match=reason):
        worker.ask(request(first), 0.3 if first == 3 else 60)
    assert not is_running(worker)
    with pytest.raises(WorkerDied):
        worker.ask(request())


def test_a_file_that_cannot_be_loaded_is_told_in_one_line(worker: Worker) -> None:
    with pytest.raises(WorkerDied, match=r"^ValueError: not a model$"):
        worker.ask({**SETTINGS, "model": "broken.gguf"})


def test_a_command_that_prints_no_json_is_a_death(tmp_path: Path) -> None:
    worker = Worker([sys.executable, "-c", "input(); print('hello')"], tmp_path / "log", {})
    with pytest.raises(WorkerDied, match="ended with code 0"):
        worker.ask(SETTINGS)
    worker.end()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_and_rest_are_known_while_it_runs(worker: Worker) -> None:
    worker.ask(SETTINGS)
    worker.ask(request())
    peak = worker.usage().peak_bytes
    assert peak is not None
    assert 2**20 < peak < 2**30
    assert worker.idle_seconds > 0
    assert worker.idle_load >= 0
    worker.end()
    assert worker.usage().peak_bytes is None


def test_ending_a_worker_ends_what_it_started(tmp_path: Path) -> None:
    code = (
        "import json, subprocess, sys; input();"
        "child = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE);"
        "print(json.dumps({'pid': child.pid}), flush=True); input()"
    )
    worker = Worker([sys.executable, "-c", code], tmp_path / "log", {})
    child = worker.ask(SETTINGS)["pid"]
    worker.end()
    assert not is_running(worker)
    stat = Path(f"/proc/{child}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z" or os.name != "posix"
