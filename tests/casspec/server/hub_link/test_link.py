"""A server of a hub's profile: drift becomes a re-calibration, and what that found is served without losing a stream."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from casspec.cli.decoder import profile_with_task
from casspec.hub.allowed import AllowedModels
from casspec.hub.reports.drift_settings import DriftSettings
from casspec.hub.reports.policy import DriftPolicy
from casspec.hub.working.worker import JobStages, Worker
from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.generation import Statistics
from casspec.runtime.model.target import TargetModel
from casspec.server.engines import Engines, Methods
from casspec.server.hub_link.link import HubLink, LinkSettings
from casspec.server.reload import Reloader
from casspec.storage import open_repository
from casspec.storage.jobs.documents import Job
from casspec.storage.jobs.queue import Place
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from tests.casspec.hub.hubs import serving as hub_serving
from tests.casspec.hub.reports.drifting import bench_of
from tests.casspec.server.serving import Served, alone, serving, target_of, with_settings
from tests.runtime.tiny import tiny_profile

POLICY = DriftSettings(least_reports=1)
LONG: dict[str, Any] = {"model": "tiny", "prompt": [5, 9, 300], "max_tokens": 300, "extra_body": {"ignore_eos": True}}
PATIENCE = 100
"""Requests, until what was recorded is on the disk."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with open_repository(str(tmp_path / "hub.db")) as repository:
        yield repository


def calibrated(repository: Repository, seed: int, alias: str | None = None) -> CascadeProfile:
    document = tiny_profile(target_of(), seed=seed).document
    assert document is not None
    made = repository.calibration(document.model, document.device, document.dtype, {"seed": seed}).calibration_id
    profile = repository.save_profile(made, document)
    repository.finish(made)
    if alias is not None:
        repository.set_alias(alias, profile.profile_id)
    return profile


def prepared(url: str) -> Callable[[TargetModel], Methods]:
    """What `casspec serve --profile URL` serves on."""

    def methods(target: TargetModel) -> Methods:
        loaded = profile_with_task(target, url, None, None)
        assert loaded is not None
        assert loaded.document is not None
        stored_id = loaded.document.profile_id
        return Methods.of(Decoder(target, loaded), lambda name: Decoder(target, loaded, name), (), stored_id)

    return methods


@contextmanager
def served_from(url: str, said: list[str], **how: Any) -> Iterator[tuple[Served, HubLink]]:
    """A server on the hub's profile, and its link, which does nothing by itself unless `how` says so."""
    traffic = how.get("traffic")
    settings, ready = with_settings(record_traffic=traffic), threading.Event()
    with serving(settings, lambda: Engines(prepared(url)(target_of()), settings)) as running:
        reloader = Reloader(running.service, prepared(url), said.append)
        told = LinkSettings(url, "here:8000", **{"report_s": 0.0, "poll_s": 0.0, **how})
        link = HubLink(running.service, reloader, told)
        loop = running.service.steps._loop
        loop.call_soon_threadsafe(lambda: (link._start(), ready.set()))
        assert ready.wait(30)
        with link.running():
            yield running, link


def drift(running: Served) -> None:
    """Texts in which a drafter is never right."""
    for _ in range(400):
        statistics = Statistics("dytc", emitted_tokens=200)
        statistics.count_trials({"light": (200, 0)})
        watch = running.service.engines._watch
        assert watch is not None
        watch.text("greedy", statistics)
    assert running.service.drifts()


def served_id(running: Served) -> str:
    return str(httpx.get(f"{running.url}/figures").json()["serving"]["profile"]["id"])


@pytest.mark.slow
def test_drift_ends_with_a_faster_profile_and_no_stream_is_lost(repository: Repository, tmp_path: Path) -> None:
    old, decisions, said = calibrated(repository, 0, "production"), list[str](), list[str]()
    allowed = AllowedModels((old.model.name,))
    policy = DriftPolicy(repository, POLICY, allowed, decisions.append)

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        assert job.request.against == old.content_hash()
        new = calibrated(repository, 5)
        repository.save_bench(new.profile_id, bench_of(old, 1.5, 1.0))
        return new.content_hash()

    with hub_serving(repository, drift=POLICY, allowed=allowed) as place:
        url = f"{place.replace('http://', 'hub://')}/production"
        with served_from(url, said, traffic=tmp_path / "traffic.jsonl") as (running, link):
            reporter, poller, client = link.reporter(), link.poller(), running.client()
            assert served_id(running) == old.profile_id
            drift(running)
            reporter.report()
            policy.tick()
            for place_of in range(PATIENCE):
                client.completions.create(model="tiny", prompt=f"def f{place_of}(x):", max_tokens=2)
                reporter.report()
                if repository.reports.with_traffic(old.content_hash(), "") is not None:
                    break
            policy.tick()
            job = Worker(repository, Place("cpu", "here"), run).work_once()
            assert job is not None
            assert (job.status, job.message) == ("done", None)
            poller.poll()
            assert said == [], "nothing was promoted yet"
            stream = client.completions.create(**LONG, stream=True)
            text = next(iter(stream)).choices[0].text
            policy.tick()
            poller.poll()
            assert served_id(running) == str(job.profile_hash)[:12] != old.profile_id
            text += "".join(chunk.choices[0].text for chunk in stream)
            assert text == alone([5, 9, 300], max_new_tokens=300, ignore_eos=True).text
            assert client.completions.create(**LONG).choices[0].text == text
            poller.poll()
            assert len(said) == 1
            assert running.service.drifts() == []
    assert [line.split(": ")[1] for line in decisions] == ["wanted", "queued", "promoted"]


def test_a_profile_that_cannot_be_used_leaves_the_old_one(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, said = calibrated(repository, 0, "production"), list[str]()
    with hub_serving(repository) as place:
        url = f"{place.replace('http://', 'hub://')}/production"
        with served_from(url, said) as (running, link):
            calibrated(repository, 5, "production")
            monkeypatch.setattr("casspec.hub.client.HubClient.profile", lambda self, selection: old)
            poller = link.poller()
            poller.poll()
            poller.poll()
            assert served_id(running) == old.profile_id
    assert len(said) == 1
    assert said[0].startswith("reload: the profile stays as it was: the hub")


def test_without_a_hub_the_kept_profile_serves_and_the_link_waits_for_it(
    repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    old, said = calibrated(repository, 0, "production"), list[str]()
    with hub_serving(repository) as place:
        url = f"{place.replace('http://', 'hub://')}/production"
        with served_from(url, said):
            pass
    with served_from(url, said, report_s=0.01, poll_s=0.01) as (running, _):
        assert served_id(running) == old.profile_id
        client = running.client()
        for _ in range(PATIENCE):
            client.completions.create(model="tiny", prompt=[5, 9, 300], max_tokens=8)
            if {"reports", "polls"} <= {line.partition(" ")[0] for line in caplog.messages}:
                break
        told = [line for line in caplog.messages if line.startswith(("reports to the hub:", "polls of the hub:"))]
    assert sorted(line.partition(":")[0] for line in told) == ["polls of the hub", "reports to the hub"]
    assert said == []
