from __future__ import annotations

import socket
from pathlib import Path

import pytest

from casspec.hub.fleet.documents import HostSettings, Outcome, Placement
from casspec.hub.fleet.task import execute, run_placement
from casspec.hub.working.worker import JobStages, Run
from casspec.storage.jobs.documents import Job, JobRequest
from casspec.storage.repository import Repository

PROFILE = "a" * 64


def submit(repository: Repository, model: str = "reference", kind: str = "cpu") -> str:
    return repository.jobs.submit(JobRequest(model=model, device=kind)).job_id


def placement_of(storage: str, job_id: str, kind: str = "cpu") -> str:
    return Placement(job_id=job_id, kind=kind, device="cpu", host=HostSettings(storage=storage)).canonical_json()


def outcome_of(document: str, run: Run) -> Outcome:
    outcome: Outcome = Outcome.model_validate_json(execute(document, lambda placement, storage: run))
    return outcome


def done(repository: Repository, job: Job, stages: JobStages) -> str:
    return PROFILE


def test_a_placement_runs_its_job_and_no_other(repository: Repository, storage: str) -> None:
    first, second = submit(repository), submit(repository)
    assert outcome_of(placement_of(storage, second), done) == Outcome(status="done")
    assert (repository.jobs.get(first).status, repository.jobs.get(second).status) == ("queued", "done")


def test_a_second_placement_of_a_job_finds_nothing_to_run(repository: Repository, storage: str) -> None:
    job_id, seen = submit(repository), []

    def placed_twice(repository: Repository, job: Job, stages: JobStages) -> str:
        seen.append(outcome_of(placement_of(storage, job_id), done))
        return PROFILE

    assert outcome_of(placement_of(storage, job_id), placed_twice).status == "done"
    assert seen == [Outcome()]


def test_a_device_without_a_gpu_is_called_by_its_kind(repository: Repository, storage: str) -> None:
    job_id = submit(repository, kind="left")
    outcome_of(placement_of(storage, job_id, "left"), done)
    assert f"on {socket.gethostname()}/left" in repository.jobs.log(job_id).lines[0].text


def test_an_interrupt_hands_the_job_back(repository: Repository, storage: str) -> None:
    job_id = submit(repository)

    def interrupted(repository: Repository, job: Job, stages: JobStages) -> str:
        raise KeyboardInterrupt

    assert outcome_of(placement_of(storage, job_id), interrupted).status == "queued"
    assert (repository.jobs.get(job_id).status, repository.jobs.get(job_id).attempts) == ("queued", 0)


def test_a_file_of_another_machine_comes_back_as_a_line_and_is_not_made(tmp_path: Path) -> None:
    outcome = outcome_of(placement_of(str(tmp_path / "elsewhere.db"), "0" * 16), done)
    assert "PostgreSQL" in str(outcome.message)
    assert list(tmp_path.iterdir()) == []


def test_the_machine_knows_its_own_store_better(
    repository: Repository, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit(repository)
    monkeypatch.setenv("CASSPEC_STORAGE", storage)
    assert outcome_of(placement_of(str(tmp_path / "elsewhere.db"), job_id), done).status == "done"


def test_what_is_placed_is_a_calibration_of_a_model_that_is_allowed(repository: Repository, storage: str) -> None:
    job_id = submit(repository, "/etc")
    outcome = Outcome.model_validate_json(run_placement(placement_of(storage, job_id)))
    assert outcome.status == "failed"
    assert "is not allowed here" in str(outcome.message)
