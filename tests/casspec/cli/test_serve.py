"""`casspec serve`, run as a user runs it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2 as httpx
import pytest

import casspec.server
from casspec.cli.main import main
from casspec.cli.serve import _calibrate_options


def line_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The line that a command which cannot begin ends with."""
    assert main(["serve", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_cannot_be_served_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--api-key" in line_of(capsys, "--host", "0.0.0.0")
    assert "cannot be read" in line_of(capsys, "--api-key-file", str(tmp_path / "none"))
    assert "cannot be written" in line_of(capsys, "--access-log", str(tmp_path / "no" / "log"))
    assert "--port" in line_of(capsys, "--port", "70000")


def test_requests_are_shared_with_a_hub_only_where_they_are_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = ["--profile", "hub://127.0.0.1:1/production"]
    assert "--record-traffic" in line_of(capsys, *hub, "--share-traffic")
    recorded = ["--share-traffic", "--record-traffic", str(tmp_path / "traffic.jsonl")]
    assert "hub://" in line_of(capsys, *recorded)
    assert "--server-name" in line_of(capsys, *hub, "--port", "0", "--server-name", "a\nb")


def test_what_a_drift_says_to_run_calibrates_for_what_is_served() -> None:
    assert _calibrate_options("cpu", "auto", "auto", None, None) == ()
    given = _calibrate_options("cuda:1", "float32", "lean", 3, "sqlite:///a.db")
    assert " ".join(given) == "--device cuda:1 --dtype float32 --backend lean --threads 3 --storage sqlite:///a.db"
    assert _calibrate_options("cuda", "auto", "auto", None, None, False) == ("--device", "cuda", "--no-compile")
    assert _calibrate_options("cpu", "auto", "auto", None, "postgresql://ann:secret@host/db") == ()


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(casspec, "server", casspec.server)  # put back with its modules
    for name in [name for name in sys.modules if name.startswith(("casspec.server", "fastapi", "starlette"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert (
        line_of(capsys)
        == "error: this command needs fastapi, which is not installed; run: pip install 'casspec[server]'"
    )


class Command:
    """The command in a process of its own, and what it says."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "casspec", "serve", *words, "--port", "0", "--access-log", "none", "--threads", "1"],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self._news = threading.Condition()
        threading.Thread(target=self._listen, daemon=True).start()

    def heard(self, words: str) -> str:
        """Waits for a line that holds some words."""
        with self._news:
            assert self._news.wait_for(lambda: any(words in line for line in self.said), 120), self.said
        return next(line for line in self.said if words in line)

    def ended(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.said.append(line.strip())
                self._news.notify_all()


@pytest.mark.slow
def test_a_model_is_served_until_a_signal_ends_it(tmp_path: Path) -> None:
    command = Command(
        "reference", "--dtype", "float32", "--storage", str(tmp_path / "store.db"), "--profile", "fitting"
    )
    try:
        url = command.heard("listening at ").split()[2].rstrip(";")
        assert httpx.get(f"{url}/health", timeout=60).status_code == 200
        command.process.send_signal(signal.SIGHUP)
        command.heard("reload: the server is loading")
        command.heard("serving 'reference': 32 texts at a time")
        assert "no profile" in command.heard("float32")
        body = {"model": "reference", "prompt": "def area(", "max_tokens": 8}
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
        assert answer.json()["usage"]["completion_tokens"] == 8
        (tmp_path / "store.db").write_text("no database", "utf-8")
        command.process.send_signal(signal.SIGHUP)
        command.heard("reload: no profile")
        assert httpx.post(f"{url}/v1/completions", json=body, timeout=60).status_code == 200
        assert command.ended(signal.SIGTERM) == 0
        assert command.said[-1] == "ended"
    finally:
        command.process.kill()


@pytest.mark.slow
def test_a_model_that_is_not_there_ends_it_with_a_line() -> None:
    command = Command("/no/such/model")
    assert command.process.wait(120) == 2
    command.heard("error: ")
    assert not any("Traceback" in line for line in command.said)
