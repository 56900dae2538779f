from __future__ import annotations

from fastapi.testclient import TestClient

from casspec.storage.repository import Repository
from tests.storage import samples


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
