"""Documents of servers that report, and of re-calibrations that their reports led to. Neither needs the database."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from casspec.storage.document import Document, VersionedDocument
from casspec.storage.watched import WatchSummary

NAME = r"^[^\x00-\x1f\x7f]{1,128}$"
ALIAS = "^[a-z][a-z0-9-]{0,63}$"

RecalibrationState = Literal["wanted", "queued", "promoted", "kept", "failed"]

OPEN: frozenset[RecalibrationState] = frozenset({"wanted", "queued"})
"""States that are left again."""


class ReportedDrift(Document):
    """A figure that is no longer the profile's: a share of an acceptance, times as long as predicted of a latency."""

    kind: Literal["acceptance", "latency"]
    subject: str = Field(max_length=256)
    """The drafter, or the plan."""
    mode: Literal["greedy", "sample"] | None = None
    """Of an acceptance."""
    now: float = Field(allow_inf_nan=False)
    calibrated: float = Field(allow_inf_nan=False)


class ServerReport(VersionedDocument):
    """What one server saw of the profile it serves, from its first text with it on."""

    server: str = Field(pattern=NAME)
    """Name of the server, its own among those of a hub."""
    alias: str | None = Field(None, pattern=ALIAS)
    """Under which the server asked for the profile; None where it takes the latest, or one by its ID."""
    summary: WatchSummary
    drifts: tuple[ReportedDrift, ...] = Field((), max_length=256)


class ReceivedReport(ServerReport):
    """The same as it was received."""

    profile_hash: str
    received_at: str
    """UTC, ISO 8601 with microseconds."""
    suite_sha256: str | None = None
    """Stored artifact with the requests that came along, JSONL."""


class Decision(Document):
    """A step of a re-calibration, in a line."""

    at: str
    """UTC, ISO 8601."""
    says: str


class Recalibration(Document):
    """A calibration that drift of a served profile led to.

    It waits for traffic (`wanted`), then for its job (`queued`). It ends with the new profile at the alias (`promoted`), with the old
    one there (`kept`), or without a comparison (`failed`).
    """

    recalibration_id: str
    """Of its job too."""
    profile_hash: str
    """Of the profile that no longer fits."""
    alias: str
    """Under which that one is served."""
    state: RecalibrationState
    began_at: str
    ended_at: str | None = None
    suite_sha256: str | None = None
    new_profile_hash: str | None = None
    speed: float | None = None
    """Times the old profile's speed that the new one has, measured side by side."""
    decisions: tuple[Decision, ...] = ()

    @property
    def is_open(self) -> bool:
        return self.state in OPEN
