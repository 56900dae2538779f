"""The client against a hub that answers over HTTP."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import casspec
from casspec.hub.working.worker import JobStages, Worker
from casspec.storage.errors import HubError, HubUnreachable, SuiteError
from casspec.storage.jobs.documents import Job
from casspec.storage.jobs.queue import Place
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from tests.casspec.hub.hubs import serving
from tests.casspec.hub.test_suites import LINES
from tests.casspec.hub.test_transport import answering
from tests.storage import samples
from tests.tuner.report_page import pages


@pytest.fixture
def hub(repository: Repository) -> Iterator[casspec.HubClient]:
    with serving(repository) as url:
        yield casspec.HubClient(url)


def test_a_job_is_submitted_and_watched_to_its_end(hub: casspec.HubClient, repository: Repository) -> None:
    job = hub.submit("reference", quick=True, trials=3)
    assert (job.status, job.request.quick, job.request.trials) == ("queued", True, 3)

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        with stages.stage("profile", 2):
            return "a" * 64

    worker = threading.Thread(target=Worker(repository, Place("cpu", "here"), run).work_once)
    worker.start()
    seen = list(hub.watch(job.job_id))
    worker.join()
    assert seen[-1] == hub.job(job.job_id)
    assert (seen[-1].status, seen[-1].profile_hash) == ("done", "a" * 64)
    assert hub.jobs("done") == [seen[-1]]
    assert hub.jobs(device="H200") == []


def test_jobs_are_cancelled(hub: casspec.HubClient) -> None:
    assert hub.cancel(hub.submit("reference").job_id).status == "cancelled"


def test_the_log_of_a_job_is_read(hub: casspec.HubClient, repository: Repository) -> None:
    job_id = hub.submit("reference").job_id
    assert hub.logs(job_id) == ()
    Worker(repository, Place("cpu", "here"), lambda *_: "a" * 64).work_once()
    lines = hub.logs(job_id)
    assert lines[-1].text == f"done: profile {'a' * 12}"
    assert hub.logs(job_id, after=lines[-1].number) == ()


def test_prompts_are_sent_along(hub: casspec.HubClient, repository: Repository, tmp_path: Path) -> None:
    (tmp_path / "suite.jsonl").write_text(LINES)
    sha256 = hub.submit("reference", prompts=tmp_path / "suite.jsonl").request.suite_sha256
    assert sha256 is not None
    assert repository.artifact(sha256) == LINES.encode()


def test_profiles_and_artifacts_are_fetched(hub: casspec.HubClient, repository: Repository) -> None:
    matrix = repository.save_artifact("recycling-matrix", b"matrix")
    profile = repository.save_profile(None, samples.profile(artifacts=(matrix,)))
    (found,) = hub.profiles(profile.model.identity(), dtype=profile.dtype)
    assert hub.profile(found["profile_id"]) == profile
    assert hub.artifact(found["profile_id"], "recycling-matrix") == b"matrix"
    assert hub.profiles(dtype="float16") == []


def calibrated(repository: Repository, seed: int) -> CascadeProfile:
    settings = samples.SETTINGS | {"seed": seed}
    calibration = repository.calibration(samples.model(), samples.device(), "float32", settings).calibration_id
    profile = repository.save_profile(calibration, samples.profile(seed=seed))
    repository.finish(calibration)
    return profile


def test_profiles_are_compared_promoted_and_seen_by_model_and_device(
    hub: casspec.HubClient, repository: Repository
) -> None:
    first, second = (calibrated(repository, seed) for seed in (1, 2))
    repository.save_bench(first.profile_id, samples.bench_report())
    assert hub.promote(first.profile_id, expected_current=None).aliases == ("production",)
    with pytest.raises(HubError, match=first.profile_id) as told:
        hub.promote(second.profile_id, expected_current=None)
    assert told.value.status == 409
    (cell,) = hub.matrix().cells
    assert (cell.profile, cell.latest_id, cell.n_profiles) == (hub.summary("production"), second.profile_id, 2)
    assert cell.profile.measured["greedy"].speedup == 1.6
    assert ("origin", "seed") in {
        (one.section, one.field) for one in hub.compare(first.profile_id, second.profile_id).differences
    }
    assert hub.promote(second.profile_id).aliases == ("candidate", "production")
    assert [one["profile_id"] for one in hub.profiles(before=second.profile_id)] == [first.profile_id]


def test_a_report_is_fetched(hub: casspec.HubClient, repository: Repository) -> None:
    profile = repository.save_profile(None, pages.profile())
    assert profile.profile_id in hub.report_page(profile.profile_id)


def test_refusals_are_one_line(hub: casspec.HubClient) -> None:
    with pytest.raises(HubError, match="is not allowed here"):
        hub.submit("/etc")
    with pytest.raises(HubError, match="trust_remote_code"):
        hub.submit("reference", trust_remote_code=True)
    with pytest.raises(HubError, match="no job") as told:
        hub.job("0" * 16)
    assert told.value.status == 404


def test_a_suite_that_is_no_text_is_told_with_its_file(hub: casspec.HubClient, tmp_path: Path) -> None:
    (tmp_path / "suite.jsonl").write_bytes(b"PAR1\xff")
    with pytest.raises(SuiteError, match=r"suite\.jsonl is no UTF-8 text"):
        hub.submit("reference", prompts=tmp_path / "suite.jsonl")


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"jobs": 3, "profiles": null}', b'{"jobs": ["x"], "profiles": 1}'])
def test_what_another_service_answers_is_one_line(body: bytes) -> None:
    with answering(200, body) as (url, _):
        for ask in (casspec.HubClient(url).jobs, casspec.HubClient(url).profiles):
            with pytest.raises(HubError, match=r"is it (a hub|of another release)"):
                ask()


@pytest.mark.parametrize("job_id", ["", "zz", "../x", "0" * 15])
def test_what_is_no_id_of_a_job_is_told_without_asking(job_id: str) -> None:
    hub = casspec.HubClient("http://127.0.0.1:1")
    for ask in (hub.job, hub.cancel, lambda job_id: list(hub.watch(job_id))):
        with pytest.raises(HubError, match="16 hexadecimal digits"):
            ask(job_id)


def test_events_of_another_service_are_one_line() -> None:
    with answering(200, b"data: hello\n\n") as (url, _), pytest.raises(HubError, match="is it a hub"):
        list(casspec.HubClient(url).watch("0" * 16))


def test_the_key_comes_from_the_environment(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(repository, api_keys=("right",)) as url:
        with pytest.raises(HubError, match="CASSPEC_HUB_KEY"):
            casspec.HubClient(url).jobs()
        monkeypatch.setenv("CASSPEC_HUB_KEY", "right")
        assert casspec.HubClient(url).jobs() == []


def test_watching_ends_where_the_hub_stays_away(repository: Repository) -> None:
    with serving(repository) as url:
        job = casspec.HubClient(url).submit("reference")
        watched = casspec.HubClient(url).watch(job.job_id)
        assert next(watched) == job
    with pytest.raises(HubUnreachable):
        list(watched)


def test_the_base_install_has_all_a_client_needs() -> None:
    program = "import sys, casspec; casspec.HubClient('hub://h'); print(sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/").stdout
    assert not {"sqlalchemy", "fastapi", "starlette", "uvicorn", "torch", "httpx"} & set(ast.literal_eval(loaded))
