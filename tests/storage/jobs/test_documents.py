from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from casspec.storage.jobs.documents import Job, JobRequest


@pytest.mark.parametrize(
    "asked",
    [
        {"model": ""},
        {"device": ""},
        {"suite": "chat", "suite_sha256": "0" * 64},
        {"suite_sha256": "../secret"},
        {"suite_sha256": "0" * 64 + "\n"},
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"trials": 0},
        {"dtype": "int3"},
        {"unknown": 1},
        {"seed": 2**63},
        {"against": "production"},
        {"against": "0" * 64, "bench": False},
    ],
)
def test_a_request_that_no_calibration_could_follow_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JobRequest.model_validate({"model": "reference", "device": "cpu", **asked})


def test_documents_come_back_as_they_were() -> None:
    request = JobRequest(model="reference", device="cpu", seconds="auto", quick=True)
    job = Job(job_id="1", request=request, status="queued", submitted_at="2026-01-01")
    assert Job.model_validate_json(job.canonical_json()) == job
    assert not job.has_ended
    assert job.model_copy(update={"status": "failed"}).has_ended
