"""Requests that the hub's own OpenAPI document leads to, right and wrong: none breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from casspec.storage.jobs.documents import JobRequest
from casspec.storage.repository import Repository
from tests.casspec.hub.hubs import serving
from tests.storage import samples

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

KNOWN = {"job_id": "0" * 16, "selection": "latest", "name": "recycling-matrix"}
"""What there is in the hub, by the name of its part of a path."""


@pytest.fixture
def schema(repository: Repository) -> Iterator[Any]:
    """Of a hub with a profile and a job that has ended."""
    matrix = repository.save_artifact("recycling-matrix", b"matrix")
    repository.save_profile(None, samples.profile(artifacts=(matrix,)))
    repository.jobs.submit(JobRequest(model="reference", device="cpu"), KNOWN["job_id"])
    repository.jobs.ask_to_cancel(KNOWN["job_id"])
    with serving(repository, max_rate=1e6) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def broken_by(operation: Any, mode: Any) -> tuple[list[str], set[int]]:
    """What the hub failed at, of requests to one of its routes, and how it answered."""
    found: list[str] = []
    statuses: set[int] = set()

    @settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
    def ask(case: Any, is_known: bool) -> None:
        if is_known:
            case.path_parameters = {name: KNOWN.get(name, value) for name, value in case.path_parameters.items()}
        status = case.call(timeout=60).status_code
        statuses.add(status)
        if status >= 500:
            found.append(f"{status}: {case.as_curl_command()}")

    with suppress(Unsatisfiable):  # of a route that takes nothing nothing can be wrong
        ask()
    return found, statuses


@pytest.mark.slow
def test_no_request_that_the_document_leads_to_breaks_the_hub(schema: Any, repository: Repository) -> None:
    answers: dict[str, set[int]] = {}
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in schemathesis.GenerationMode:
            broken, statuses = broken_by(operation, mode)
            assert broken == []
            answers.setdefault(operation.label, set()).update(statuses)
    for label in ("GET /v1/jobs/{job_id}", "GET /v1/profiles", "GET /v1/profiles/{selection}", "POST /session"):
        assert {200, 400} <= answers[label], label
    assert 400 in answers["POST /v1/jobs"]
    assert repository.jobs.get(KNOWN["job_id"]).status == "cancelled"
