"""Reports over HTTP: what is taken, what is asked for, what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

import casspec
from casspec.hub.reports.drift_settings import DriftSettings
from casspec.storage.repository import Repository
from tests.casspec.hub.hubs import client_of, serving
from tests.casspec.hub.reports.drifting import Fleet
from tests.casspec.hub.test_suites import LINES
from tests.storage.reports.reported import DRIFT, summary

DRIFTS = [DRIFT.model_dump(mode="json")]
POLICY = DriftSettings(least_reports=1)


def told(fleet: Fleet, **changes: Any) -> dict[str, Any]:
    seen = summary(fleet.profile.profile_id).model_dump(mode="json")
    return {"server": "a:8000", "alias": "production", "summary": seen, **changes}


def test_a_report_is_kept_and_shown(fleet: Fleet, client: TestClient) -> None:
    answer = client.post("/v1/reports", json=told(fleet, drifts=DRIFTS))
    assert (answer.status_code, answer.json()["wants_traffic"]) == (201, False)
    client.post("/v1/reports", json=told(fleet))
    client.post("/v1/reports", json=told(fleet, server="b:8000"))
    found = client.get("/v1/reports", params={"profile": "production", "server": "a:8000"}).json()["reports"]
    assert [(one["profile_hash"], one["drifts"]) for one in found] == [(fleet.profile.content_hash(), [])]
    assert found[0]["summary"]["tokens"] == 5
    assert len(client.get("/v1/reports").json()["reports"]) == 2
    assert len(client.get("/v1/reports", params={"history": "true"}).json()["reports"]) == 3
    assert client.get("/v1/reports", params={"server": "c"}).json() == {"reports": []}


@pytest.mark.parametrize(
    ("changed", "status", "message"),
    [
        ({"server": "a\nb"}, 400, "server"),
        ({"alias": "../x"}, 400, "alias"),
        ({"drifts": [DRIFTS[0] | {"now": 1e999}]}, 400, "drifts"),
        ({"summary": summary("0" * 12).model_dump() | {"drafters": 1}}, 400, "drafters"),
        ({"summary": summary("0" * 12).model_dump() | {"schema_version": "99.0"}}, 400, "upgrade"),
        ({"summary": summary("f" * 12).model_dump()}, 404, "no profile"),
        ({"summary": summary("f" * 12).model_dump() | {"began_at": "\ud800"}}, 400, "character"),
        ({"summary": summary("latest").model_dump()}, 400, "ID"),
        ({"unknown": 1}, 400, "unknown"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(
    fleet: Fleet, client: TestClient, changed: dict[str, Any], status: int, message: str
) -> None:
    body = json.dumps(told(fleet, **changed))
    answer = client.post("/v1/reports", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]
    assert "\n" not in answer.json()["error"]["message"]


def test_numbers_that_are_none_and_too_much_are_refused(fleet: Fleet, client: TestClient) -> None:
    plan = {"plan": "target", "forwards": 1, "predicted_ms": float("inf"), "measured_ms": 1.0}
    seen = summary(fleet.profile.profile_id).model_dump(mode="json")
    many = [plan | {"plan": "p" * 1000, "predicted_ms": 1.0}] * 300
    for plans, status in (([plan], 400), (many, 413)):
        body = json.dumps(told(fleet, summary=seen | {"plans": plans}))
        answer = client.post("/v1/reports", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == status


def test_requests_are_kept_where_a_recalibration_waits_for_them(fleet: Fleet, repository: Repository) -> None:
    client = client_of(repository, drift=POLICY)
    sent = told(fleet, drifts=DRIFTS, traffic=LINES)
    assert client.post("/v1/reports", json=sent).json()["wants_traffic"] is False
    (kept,) = repository.reports.history()
    assert kept.suite_sha256 is None, "nobody waits for them"
    begun = repository.recalibrations.begin(fleet.profile, "production", kept.received_at, "drift")
    assert begun is not None
    assert client.post("/v1/reports", json=told(fleet)).json()["wants_traffic"] is True
    assert client_of(repository).post("/v1/reports", json=told(fleet)).json()["wants_traffic"] is False, "it is off"
    few = client.post("/v1/reports", json=told(fleet, traffic=LINES.splitlines()[0]))
    assert (few.status_code, "two prompts" in few.json()["error"]["message"]) == (400, True)
    assert client.post("/v1/reports", json=sent).json()["wants_traffic"] is False, "they are here now"
    suite = repository.reports.history()[0].suite_sha256
    assert repository.artifact(str(suite)) == LINES.encode()


def test_what_drift_led_to_is_shown(fleet: Fleet, repository: Repository) -> None:
    off = client_of(repository).get("/v1/recalibrations").json()
    assert off == {"policy": None, "drifting": [], "recalibrations": []}
    client = client_of(repository, drift=POLICY)
    client.post("/v1/reports", json=told(fleet, drifts=DRIFTS, alias=None))
    shown = client.get("/v1/recalibrations", params={"profile": fleet.profile.profile_id}).json()
    assert shown["policy"] == {"least_interval_s": 86400.0, "least_reports": 1}
    ((one,), found) = shown["drifting"], shown["recalibrations"]
    assert (one["profile_hash"], one["alias"], found) == (fleet.profile.content_hash(), None, [])
    assert "no server asked for it by an alias" in one["says"]


def test_the_client_reports_and_reads(fleet: Fleet, repository: Repository) -> None:
    with serving(repository, drift=POLICY) as url:
        hub = casspec.HubClient(url)
        assert hub.report("a:8000", summary(fleet.profile.profile_id), [DRIFT], "production") is False
        (one,) = hub.reports(fleet.profile.profile_id)
        assert (one.server, one.drifts, one.alias) == ("a:8000", (DRIFT,), "production")
        assert hub.reports(server="b") == []
        assert hub.reports(history=True) == [one]
        begun = repository.recalibrations.begin(fleet.profile, "production", one.received_at, "drift")
        assert hub.recalibrations() == [begun]
        assert hub.report("a:8000", one.summary, traffic=LINES) is False
        assert hub.reports()[0].suite_sha256 is not None
