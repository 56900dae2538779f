from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from casspec.storage.reports.documents import OPEN, Decision, Recalibration, ReceivedReport, ServerReport
from tests.storage.reports.reported import DRIFT, report, summary


@pytest.mark.parametrize(
    "told",
    [
        {"server": ""},
        {"server": "a\nb"},
        {"server": "a" * 129},
        {"alias": "Production"},
        {"alias": "../a"},
        {"drifts": [DRIFT.model_dump() | {"now": float("nan")}]},
        {"drifts": [DRIFT.model_dump() | {"kind": "mood"}]},
        {"drifts": [DRIFT.model_dump()] * 257},
        {"unknown": 1},
    ],
)
def test_a_report_that_says_nothing_of_use_is_refused(told: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ServerReport.model_validate({"server": "a", "summary": summary("0" * 12), **told})


def test_documents_come_back_as_they_were() -> None:
    received = report("a" * 64, drifts=True, suite_sha256="b" * 64)
    assert ReceivedReport.model_validate_json(received.canonical_json()) == received
    one = Recalibration(
        recalibration_id="0" * 16,
        profile_hash="a" * 64,
        alias="production",
        state="wanted",
        began_at="2026-03-01",
        decisions=(Decision(at="2026-03-01", says="drift"),),
    )
    assert Recalibration.model_validate_json(one.canonical_json()) == one
    assert one.is_open
    assert {state for state in ("wanted", "queued", "promoted", "kept", "failed") if state in OPEN} == OPEN
