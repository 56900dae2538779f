from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import casspec
from casspec.cli.calibrate import _settings
from casspec.hub.allowed import AllowedModels
from casspec.hub.reports.verdict import verdict
from casspec.hub.suites import keep_suite
from casspec.hub.working.calibration import JobCalibration, check_suite_name, settings_of
from casspec.hub.working.worker import Worker
from casspec.storage.errors import SuiteError
from casspec.storage.jobs.documents import JobRequest
from casspec.storage.jobs.queue import Place
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from casspec.tuner.settings import QUICK
from casspec.tuner.suites.prompts import Suite
from tests.casspec.hub.test_suites import LINES
from tests.casspec.server.serving import target_of
from tests.runtime.tiny_families import tiny_model
from tests.storage import samples
from tests.tuner.text_generators import ALPHABET, tokenizer

SUITE = Suite(name="empty", prompts=())


LESS: dict[str, dict[str, Any]] = {
    "profile": {"seconds": 0.1, "rounds": 1, "max_context": 128},
    "record": {"prompts": 2, "tokens": 16},
    "search": {"recordings": 2, "trials": 4, "seconds": 5.0},
    "cascade": {"probed_recordings": 1, "probed_steps": 2, "tuning_seconds": 0.1},
    "bench": {"prompts": 1, "tokens": 8, "batches": (2,), "batch_tokens": 4},
}


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
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys.modules[JobCalibration.__module__], "QUICK", {**QUICK, **LESS})
    suite = keep_suite(repository, LINES)
    asked = JobRequest(
        model="reference", device="cpu", dtype="float32", suite_sha256=suite, quick=True, trials=2, max_batch=1
    )
    worker = Worker(repository, Place("cpu", "here"), JobCalibration("cpu", AllowedModels(), storage))
    made = []
    for _ in range(2):
        repository.jobs.submit(asked)
        job = worker.work_once()
        assert job is not None
        assert (job.status, job.message) == ("done", None)
        made.append(job.profile_hash)
    assert made == [repository.profile("latest").content_hash()] * 2


def letters(words: str) -> str:
    """A suite of texts that repeat themselves."""
    rows = [{"question_id": word, "category": "a", "turns": [word * 3 + "ab" * 9 + word]} for word in words]
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.slow
def test_a_job_races_its_profile_with_another_on_the_half_that_is_reported(
    repository: Repository, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys.modules[JobCalibration.__module__], "QUICK", {**QUICK, **LESS})
    directory = tmp_path / "models" / "tiny"
    tiny_model("llama", vocab_size=len(ALPHABET)).save_pretrained(directory)
    tokenizer().save_pretrained(directory)
    run = JobCalibration("cpu", AllowedModels((), (directory.parent,)), storage)
    worker, made = Worker(repository, Place("cpu", "here"), run), list[CascadeProfile]()
    for words in ("abcdef", "ghijkl"):
        against = made[-1].content_hash() if made else None
        suite = keep_suite(repository, letters(words))
        asked = {
            "model": "tiny",
            "device": "cpu",
            "dtype": "float32",
            "quick": True,
            "suite_sha256": suite,
            "max_batch": 1,
        }
        repository.jobs.submit(JobRequest.model_validate(asked | {"against": against}))
        job = worker.work_once()
        assert job is not None
        assert (job.status, job.message) == ("done", None)
        made.append(repository.profile(str(job.profile_hash)))
    old, new = made
    assert repository.bench_reports(old.profile_id) == []
    (report,) = repository.bench_reports(new.profile_id)
    found = verdict([report], new, old)
    assert found is not None
    assert found.speed > 0
    assert {text.prompt_id for text in report.texts if text.variant == "against"} == {
        text.prompt_id for text in report.texts
    }
    assert all(row.lossless for row in report.rows if row.method != "autoregressive")
