"""`casspec job` against a hub without a worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from casspec.cli.main import main
from casspec.storage import open_repository
from casspec.storage.jobs.documents import JobProgress
from casspec.storage.jobs.queue import Place
from casspec.storage.repository import Repository
from tests.casspec.hub.hubs import serving
from tests.casspec.hub.test_suites import LINES


@pytest.fixture
def repository(storage: str) -> Iterator[Repository]:
    with open_repository(storage) as repository:
        yield repository


@pytest.fixture
def hub(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(repository) as url:
        monkeypatch.setenv("CASSPEC_HUB", url)
        yield url


def test_a_job_is_submitted_listed_and_cancelled(hub: str, repository: Repository, capsys) -> None:
    assert main(["job", "submit", "reference", "--quick", "--seed", "4", "--hub", hub]) == 0
    (job_id,) = capsys.readouterr().out.split()
    request = repository.jobs.get(job_id).request
    assert (request.quick, request.seed, request.force) == (True, 4, False)
    assert main(["job", "list"]) == 0
    assert job_id in capsys.readouterr().out
    assert main(["job", "cancel", job_id]) == 0
    assert f"{job_id} cancelled" in capsys.readouterr().err
    assert main(["job", "watch", job_id]) == 1


def test_a_file_of_prompts_is_sent_along(hub: str, repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "suite.jsonl").write_text(LINES)
    assert main(["job", "submit", "--suite", str(tmp_path / "suite.jsonl")]) == 0
    assert main(["job", "submit", "--suite", "chat"]) == 0
    named, sent = repository.jobs.listed()
    assert named.request.suite == "chat"
    assert sent.request.suite_sha256 is not None


@pytest.mark.parametrize("ended", ["done", "failed"])
def test_watching_tells_how_it_ended(hub: str, repository: Repository, ended: str, capsys) -> None:
    main(["job", "submit"])
    (job_id,) = capsys.readouterr().out.split()
    claim = repository.jobs.claim("one", Place("cpu", "here"))
    assert claim is not None
    repository.jobs.tell(claim, JobProgress(stage="search", done=1, total=2))
    if ended == "done":
        repository.jobs.finish(claim, "a" * 64)
    else:
        repository.jobs.fail(claim, "no such family")
    assert main(["job", "watch", job_id]) == (0 if ended == "done" else 1)
    assert f"{job_id} {ended}: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["submit", "/etc"],
        ["submit", "--suite", "no-such-file"],
        ["submit", "--suite", "no-such-file.jsonl"],
        ["submit", "--suite", "no/such/file"],
        ["watch", "0" * 16],
        ["cancel", "nothing"],
        ["list", "--hub", "http://127.0.0.1:1"],
        ["list", "--hub", "nowhere"],
    ],
)
def test_what_goes_wrong_is_one_line(hub: str, arguments: list[str], capsys) -> None:
    assert main(["job", *arguments]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_the_log_of_a_job_is_printed(hub: str, repository: Repository, capsys) -> None:
    assert main(["job", "submit"]) == 0
    (job_id,) = capsys.readouterr().out.split()
    claim = repository.jobs.claim("one", Place("cpu", "here"))
    assert claim is not None
    repository.jobs.say(claim, ["1/5 profile begins, 120 steps", "warning: [slow]"])
    assert main(["job", "logs", job_id]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[2] for line in lines] == ["1/5 profile begins, 120 steps", "warning: [slow]"]
    assert main(["job", "logs", "0" * 16]) == 2
