"""An engine's beginning and end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from casspec.storage.errors import EngineError
from casspec.tuner.engines.guard import descendants
from casspec.tuner.engines.process import DoesNotStart, EngineFailed, EngineProcess, free_port, last_reason
from tests.tuner.engines.conftest import FAKE
from tests.tuner.engines.test_guard import gone


def engine(tmp_path: Path, modes: str = "{}", config: str | None = None) -> EngineProcess:
    port = free_port()
    words = [sys.executable, str(FAKE), "--port", str(port), "--host", "127.0.0.1"]
    words += ["--speculative-config", config] if config else []
    return EngineProcess(words, {"FAKE_VLLM": modes}, tmp_path / "log", port, "/health")


def test_an_engine_is_ready_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with engine(tmp_path) as process:
        assert process.wait_until_ready(60) > 0
        process.check()
        below = descendants(process.pid)
        assert len(below) >= 2
    assert gone([process.pid, *below])


def test_one_that_gives_up_says_why_in_one_line(tmp_path: Path) -> None:
    with (
        engine(tmp_path, '{"refuses": ["suffix"]}', '{"method": "suffix"}') as process,
        pytest.raises(DoesNotStart, match="ended with code 1: ValueError: no suffix here") as failure,
    ):
        process.wait_until_ready(60)
    assert "\n" not in str(failure.value)


def test_one_that_is_killed_may_do_better_the_next_time(tmp_path: Path) -> None:
    with engine(tmp_path) as process:
        while not descendants(process.pid):
            process.check()
        os.kill(descendants(process.pid)[0], signal.SIGKILL)
        with pytest.raises(EngineFailed) as failure:
            process.wait_until_ready(60)
        assert not isinstance(failure.value, DoesNotStart)


def test_one_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with engine(tmp_path) as process, pytest.raises(EngineFailed, match="did not answer in time"):
        process.wait_until_ready(0.0)


def test_no_engine_outlives_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from casspec.tuner.engines.process import *\n"
        f"port = free_port(); words = [sys.executable, {str(FAKE)!r}, '--port', str(port), '--host', '127.0.0.1']\n"
        f"e = EngineProcess(words, {{}}, Path({str(tmp_path / 'log')!r}), port, '/health'); e.wait_until_ready(60)\n"
        "print(e.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    guard = int(parent.stdout.readline())
    below = [guard, *descendants(guard)]
    parent.kill()
    parent.wait()
    assert gone(below)


def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen()
        with pytest.raises(EngineError, match="is in use"):
            free_port(place.getsockname()[1])
    assert free_port() > 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it printed nothing"),
        ("loading\nbye\n", "bye"),
        ("Traceback\nValueError: bad head\nINFO shutting down\n", "ValueError: bad head"),
        (
            "\x1b[31mRuntimeError: no memory\x1b[0m\nRuntimeError: Engine core initialization failed.\n",
            "RuntimeError: no memory",
        ),
    ],
)
def test_the_reason_is_the_last_line_that_names_an_error(tmp_path: Path, text: str, reason: str) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    assert last_reason(log) == reason


def test_waiting_ends_soon_after_the_engine(tmp_path: Path) -> None:
    with engine(tmp_path) as process:
        process.wait_until_ready(60)
        process.check_soon()
        os.kill(descendants(process.pid)[0], signal.SIGKILL)
        with pytest.raises(EngineFailed, match="code 137"):
            checked_for(process, 60)


def checked_for(process: EngineProcess, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        process.check_soon()
