from __future__ import annotations

from pathlib import Path

import pytest

import casspec
from casspec.cli.calibrate import _settings
from casspec.hub.allowed import AllowedModels
from casspec.hub.calibration import JobCalibration, check_suite_name, settings_of
from casspec.hub.worker import Worker
from casspec.storage.errors import SuiteError
from casspec.storage.jobs.documents import JobRequest
from casspec.storage.jobs.queue import Place
from casspec.storage.repository import Repository
from casspec.tuner.suites.prompts import Suite
from tests.casspec.hub.test_suites import LINES
from tests.casspec.server.serving import target_of
from tests.storage import samples

SUITE = Suite(name="empty", prompts=())


@pytest.mark.parametrize("quick", [False, True])
def test_settings_are_those_of_the_command(quick: bool) -> None:
    asked = JobRequest(
        model="reference", device="cpu", quick=quick, seed=3, trials=7, max_batch=2, per_task=True, long="cut"
    )
    changes = {
        "profile": {"max_batch": 2},
        "record": {"long": "cut"},
        "search": {"trials": 7},
        "cascade": {"per_task": True},
    }
    assert settings_of(asked, "chat", SUITE) == _settings("chat", SUITE, 3, quick, changes)


@pytest.mark.parametrize("name", ["/etc/passwd", "../suite.jsonl", "", "Chat"])
def test_jobs_name_no_files(name: str) -> None:
    with pytest.raises(SuiteError, match="no suite"):
        check_suite_name(name)


def test_a_model_that_is_not_allowed_fails_the_job_before_it_is_loaded(repository: Repository, storage: str) -> None:
    repository.jobs.submit(JobRequest(model="/etc", device="cpu"))
    job = Worker(repository, Place("cpu", "here"), JobCalibration("cpu", AllowedModels(), storage)).work_once()
    assert job is not None
    assert job.status == "failed"
    assert str(job.message).startswith("model '/etc' is not allowed here")


def test_a_profile_of_another_model_is_not_raced_with(
    repository: Repository, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(casspec, "load_target", lambda *_, **__: target_of())
    other = repository.save_profile(None, samples.profile())
    repository.jobs.submit(JobRequest(model="reference", device="cpu", against=other.content_hash()))
    job = Worker(repository, Place("cpu", "here"), JobCalibration("cpu", AllowedModels(), storage)).work_once()
    assert job is not None
    assert job.status == "failed"
    assert "was calibrated for" in str(job.message)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_calibrates_and_a_second_answers_from_the_store(
    repository: Repository, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from casspec.hub.suites import keep_suite

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    suite = keep_suite(repository, LINES)
    asked = JobRequest(model="reference", device="cpu", dtype="float32", suite_sha256=suite, quick=True, trials=2)
    worker = Worker(repository, Place("cpu", "here"), JobCalibration("cpu", AllowedModels(), storage))
    made = []
    for _ in range(2):
        repository.jobs.submit(asked)
        job = worker.work_once()
        assert job is not None
        assert (job.status, job.message) == ("done", None)
        made.append(job.profile_hash)
    assert made == [repository.profile("latest").content_hash()] * 2
