from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from tests.storage import samples
from tests.tuner.report_page import pages


def test_profiles_are_found_by_fingerprint_and_come_with_all_they_have(
    client: TestClient, repository: Repository
) -> None:
    matrix = repository.save_artifact("recycling-matrix", b"matrix")
    profile = repository.save_profile(None, samples.profile(artifacts=(matrix,)))
    asked = {"model": profile.model.identity(), "device": profile.device.identity(), "dtype": profile.dtype}
    (found,) = client.get("/v1/profiles", params=asked).json()["profiles"]
    assert found["profile_hash"] == profile.content_hash()
    assert client.get("/v1/profiles", params=asked | {"model": "0" * 64}).json() == {"profiles": []}
    assert client.get("/v1/profiles", params=asked | {"alias": "production"}).json() == {"profiles": []}
    path = f"/v1/profiles/{found['profile_id']}"
    assert type(profile).model_validate_json(client.get(path).text) == profile
    assert client.get(f"{path}/artifacts/recycling-matrix").content == b"matrix"
    assert client.get(f"{path}/artifacts/other").status_code == 404
    assert client.get(f"{path}/export", params={"to": "json"}).json()["fidelity"] == "full"


def calibrated(repository: Repository, seed: int) -> CascadeProfile:
    settings = samples.SETTINGS | {"seed": seed}
    calibration = repository.calibration(samples.model(), samples.device(), "float32", settings).calibration_id
    profile = repository.save_profile(calibration, samples.profile(seed=seed))
    repository.finish(calibration)
    return profile


def test_a_list_goes_on_where_it_ended(client: TestClient, repository: Repository) -> None:
    ids = [repository.save_profile(None, samples.profile(seed=seed)).profile_id for seed in range(3)][::-1]
    first = client.get("/v1/profiles", params={"limit": 2}).json()["profiles"]
    rest = client.get("/v1/profiles", params={"limit": 2, "before": first[-1]["profile_id"]}).json()["profiles"]
    assert [one["profile_id"] for one in [*first, *rest]] == ids
    assert client.get("/v1/profiles", params={"before": "f" * 64}).status_code == 404


def test_an_alias_is_found_however_many_profiles_came_later(client: TestClient, repository: Repository) -> None:
    promoted, *_ = (calibrated(repository, seed) for seed in range(3))
    repository.set_alias("production", promoted.profile_id)
    (found,) = client.get("/v1/profiles", params={"alias": "production", "limit": 1}).json()["profiles"]
    assert (found["profile_hash"], found["aliases"]) == (promoted.content_hash(), ["production"])


def test_a_summary_says_what_was_measured(client: TestClient, repository: Repository) -> None:
    profile = calibrated(repository, 1)
    repository.save_bench(profile.profile_id, samples.bench_report())
    found = client.get("/v1/profiles/latest/summary").json()
    assert (found["profile_id"], found["measured"]["greedy"]["speedup"]) == (profile.profile_id, 1.6)


def test_a_report_is_a_page_that_can_do_nothing_but_show(client: TestClient, repository: Repository) -> None:
    profile = repository.save_profile(None, pages.profile())
    answer = client.get(f"/v1/profiles/{profile.profile_id}/report")
    assert answer.headers["content-type"].startswith("text/html")
    assert re.search("default-src 'none'.*sandbox", answer.headers["content-security-policy"])
    assert profile.profile_id in answer.text
    assert client.get("/v1/profiles/ffff/report").status_code == 404


def test_two_profiles_are_compared(client: TestClient, repository: Repository) -> None:
    first, second = (calibrated(repository, seed) for seed in (1, 2))
    found = client.get("/v1/profiles/compare", params={"a": first.profile_id, "b": second.profile_id}).json()
    assert (found["a"]["profile_id"], found["b"]["profile_id"]) == (first.profile_id, second.profile_id)
    assert {"section": "origin", "field": "seed", "a": 1, "b": 2} in found["differences"]
    assert client.get("/v1/profiles/compare", params={"a": first.profile_id}).status_code == 400
    assert client.get("/v1/profiles/compare", params={"a": "../x", "b": "latest"}).status_code == 400


def test_a_profile_is_promoted_from_the_one_it_is_believed_to_follow(
    client: TestClient, repository: Repository
) -> None:
    first, second = (calibrated(repository, seed) for seed in (1, 2))
    path = "/v1/profiles/{}/promote"
    found = client.post(path.format(first.profile_id), json={"alias": "production", "expected_current": None})
    assert (found.status_code, found.json()["aliases"]) == (200, ["production"])
    late = client.post(path.format(second.profile_id), json={"expected_current": None})
    assert (late.status_code, late.json()["error"]["code"]) == (409, "alias_moved")
    assert first.profile_id in late.json()["error"]["message"]
    moved = client.post(path.format(second.profile_id), json={"expected_current": first.profile_id})
    assert moved.json()["aliases"] == ["candidate", "production"]
    assert client.post(path.format(first.profile_id), json={}).json()["aliases"] == ["production"]


@pytest.mark.parametrize(
    "body", [{"alias": "latest"}, {"alias": "compare"}, {"alias": "../x"}, {"expected_current": "x"}, {"force": True}]
)
def test_what_is_no_promotion_is_refused(client: TestClient, repository: Repository, body: dict[str, object]) -> None:
    profile = calibrated(repository, 1)
    assert client.post(f"/v1/profiles/{profile.profile_id}/promote", json=body).status_code == 400
    assert repository.aliases() == {profile.content_hash(): ["candidate"]}


def test_an_imported_profile_is_not_promoted(client: TestClient, repository: Repository) -> None:
    repository.save_profile(None, samples.profile())
    answer = client.post("/v1/profiles/latest/promote", json={})
    assert answer.status_code == 404
    assert "imported" in answer.json()["error"]["message"]
