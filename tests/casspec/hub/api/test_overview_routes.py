from __future__ import annotations

from fastapi.testclient import TestClient

from casspec.storage.repository import Repository
from tests.casspec.hub.hubs import ASKED
from tests.casspec.hub.seeding import DEVICES, MODELS, seed_profiles


def test_an_overview_counts_jobs_and_profiles(client: TestClient, repository: Repository) -> None:
    assert client.get("/v1/overview").json() == {"jobs": {}, "profiles": 0}
    client.post("/v1/jobs", json=ASKED)
    seed_profiles(repository, 3)
    assert client.get("/v1/overview").json() == {"jobs": {"queued": 1}, "profiles": 3}


def test_a_matrix_has_a_cell_for_each_model_on_each_device(client: TestClient, repository: Repository) -> None:
    assert client.get("/v1/matrix").json() == {"alias": "production", "cells": []}
    n = len(MODELS) * len(DEVICES)
    seed_profiles(repository, 2 * n)
    cells = client.get("/v1/matrix").json()["cells"]
    assert (len(cells), {cell["n_profiles"] for cell in cells}) == (n, {2})
    promoted = [cell for cell in cells if "production" in cell["profile"]["aliases"]]
    assert promoted
    assert any(cell["profile"]["profile_id"] != cell["latest_id"] for cell in promoted)
    assert all(cell["profile"]["measured"]["greedy"]["speedup"] for cell in cells)
    assert client.get("/v1/matrix", params={"limit": 3}).json()["cells"] == cells[:3]
