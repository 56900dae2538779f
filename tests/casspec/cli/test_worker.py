"""`casspec worker`, run as a hub runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from casspec.cli.main import main
from casspec.storage import open_repository
from casspec.storage.jobs.documents import JobRequest


def test_a_device_that_is_not_there_is_one_line(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["worker", "--device", "cuda", "--storage", str(tmp_path / "casspec.db")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_how_a_machine_joins_is_printed(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["worker", "--ray-start", "10.0.0.1:6379", "--kind", "big"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "ray start --address=10.0.0.1:6379" in line
    assert '{"big": 1}' in line


@pytest.mark.slow
def test_a_worker_takes_what_is_queued_and_ends_with_its_parent(tmp_path: Path) -> None:
    storage = str(tmp_path / "casspec.db")
    with open_repository(storage) as repository:
        job_id = repository.jobs.submit(JobRequest(model="/etc", device="cpu")).job_id
        command = [sys.executable, "-m", "casspec", "worker", "--until-eof", "--storage", storage]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as worker:
            assert worker.stdin is not None
            assert worker.stderr is not None
            assert any(f"job {job_id}: failed" in line for line in worker.stderr)
            worker.stdin.close()
            assert worker.wait(60) == 0
        assert "is not allowed here" in str(repository.jobs.get(job_id).message)
