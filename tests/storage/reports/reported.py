"""Reports as tests make them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from casspec.storage.reports.documents import ReceivedReport, ReportedDrift
from casspec.storage.watched import WatchSummary

DRIFT = ReportedDrift(kind="acceptance", subject="int4", mode="greedy", now=0.81, calibrated=0.95)

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(seconds: float) -> str:
    """So long after the first moment of a test."""
    return (BEGIN + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def summary(profile_id: str, tokens: int = 5) -> WatchSummary:
    return WatchSummary(profile_id=profile_id, began_at=at(0), ended_at=at(60), tokens=tokens)


def report(profile_hash: str, seconds: float = 0.0, drifts: bool = False, **changes: Any) -> ReceivedReport:
    fields: dict[str, Any] = {"server": "a:8000", "alias": "production", "summary": summary(profile_hash[:12])}
    told = {"drifts": (DRIFT,) if drifts else (), "profile_hash": profile_hash, "received_at": at(seconds)}
    return ReceivedReport(**fields | told | changes)
