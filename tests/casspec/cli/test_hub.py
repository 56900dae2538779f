"""`casspec hub`, run as a user runs it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from casspec.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host", "0.0.0.0"], "--api-key"),
        (["--api-key", ""], "printable"),
        (["--models-in", "/no/such/directory"], "--models-in"),
        (["--max-request-mib", "0"], "--max-request-mib"),
        (["--max-rate", "0"], "--max-rate"),
        (["--max-queued", "0"], "--max-queued"),
        (["--recalibrate-reports", "0"], "--recalibrate-reports"),
        (["--recalibrate-hours", "-1"], "--recalibrate-hours"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert main(["hub", *arguments, "--storage", str(tmp_path / "casspec.db")]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert message in error[0]


@pytest.mark.parametrize("option", [["--host", "0.0.0.0"], ["--no-worker"], ["--storage", "x.db"]])
def test_options_before_a_command_behind_the_hub_are_not_passed_over(option: list[str], capsys) -> None:
    assert main(["hub", *option, "token", "list"]) == 2
    assert option[0] in capsys.readouterr().err


def test_a_ray_cluster_without_a_token_is_one_line(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casspec.hub.fleet.access.find_spec", lambda name: True)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert main(["hub", "--port", "0", "--ray", "10.0.0.1:6379", "--storage", str(tmp_path / "casspec.db")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "RAY_AUTH_MODE" in line


@pytest.mark.slow
@pytest.mark.parametrize("asked", [False, True])
def test_drift_is_looked_at_only_where_that_is_asked_for(tmp_path: Path, asked: bool) -> None:
    command = [sys.executable, "-m", "casspec", "hub", "--port", "0", "--no-worker"]
    command += ["--storage", str(tmp_path / "casspec.db")]
    command += ["--recalibrate-on-drift", "--recalibrate-hours", "2", "--recalibrate-reports", "4"] if asked else []
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as hub:
        assert hub.stderr is not None
        url = next(found[0] for line in hub.stderr if (found := re.findall(r"listening at (\S+)", line)))
        with urllib.request.urlopen(f"{url}/v1/recalibrations", timeout=60) as answer:
            policy = json.load(answer)["policy"]
        hub.send_signal(signal.SIGTERM)
        assert hub.wait(60) == 0
    assert policy == ({"least_interval_s": 7200.0, "least_reports": 4} if asked else None)


@pytest.mark.slow
@pytest.mark.parametrize("ended_by", [signal.SIGTERM, signal.SIGINT])
def test_a_hub_starts_takes_a_job_runs_it_and_ends(tmp_path: Path, ended_by: signal.Signals) -> None:
    command = [sys.executable, "-m", "casspec", "hub", "--port", "0", "--storage", str(tmp_path / "casspec.db")]
    with subprocess.Popen([*command, "--models-in", str(tmp_path)], stderr=subprocess.PIPE, text=True) as hub:
        assert hub.stderr is not None
        url = next(found[0] for line in hub.stderr if (found := re.findall(r"listening at (\S+)", line)))
        (tmp_path / "broken").mkdir()
        body = json.dumps({"model": "broken", "device": "cpu"}).encode()
        asked = urllib.request.Request(f"{url}/v1/jobs", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            job_id = json.load(answer)["job_id"]
        with urllib.request.urlopen(f"{url}/v1/jobs/{job_id}/events", timeout=120) as events:
            last = [json.loads(line[6:]) for line in events if line.startswith(b"data: ")][-1]
        assert last["status"] == "failed"
        assert "broken" in last["message"]
        hub.send_signal(ended_by)
        rest = hub.stderr.read()
        assert hub.wait(60) == 0, rest
    assert "Traceback" not in rest
