"""The tables: for each document its natural key, the few values one wants to query, and the document itself as
canonical JSON.

The natural key is the primary key everywhere (what was calibrated, what was measured), so that saving twice is saving
once and a resumed run can neither lose nor double a row.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import Double, ForeignKey, Index, LargeBinary, MetaData, String, Text, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

HASH = String(64)
TIME = String(40)
"""UTC, ISO 8601 with microseconds: sorts as text."""


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {float: Double()}
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class DeviceRow(Base):
    __tablename__ = "devices"

    device_hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    document: Mapped[str] = mapped_column(Text)
    """Without the ceilings, which are measured anew and no part of the identity."""
    ceilings: Mapped[str | None] = mapped_column(Text)


class ModelRow(Base):
    __tablename__ = "models"

    model_hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    family: Mapped[str]
    n_layers: Mapped[int]
    document: Mapped[str] = mapped_column(Text)


class CalibrationRow(Base):
    __tablename__ = "calibrations"
    __table_args__ = (UniqueConstraint("settings_hash", "attempt"),)

    calibration_id: Mapped[str] = mapped_column(primary_key=True)
    settings_hash: Mapped[str] = mapped_column(HASH)
    """Of model, device, dtype and settings: what makes two calibrations the same one."""
    attempt: Mapped[int]
    model_hash: Mapped[str] = mapped_column(ForeignKey("models.model_hash"))
    device_hash: Mapped[str] = mapped_column(ForeignKey("devices.device_hash"))
    dtype: Mapped[str]
    settings: Mapped[str] = mapped_column(Text)
    started_at: Mapped[str] = mapped_column(TIME)
    finished_at: Mapped[str | None] = mapped_column(TIME)
    profile_hash: Mapped[str | None] = mapped_column(ForeignKey("profiles.profile_hash"))


class LatencySampleRow(Base):
    __tablename__ = "latency_samples"

    calibration_id: Mapped[str] = mapped_column(
        ForeignKey("calibrations.calibration_id", ondelete="CASCADE"), primary_key=True
    )
    point: Mapped[str] = mapped_column(primary_key=True)
    """Canonical JSON of the LatencyPoint."""
    position: Mapped[int]
    n: Mapped[int]
    median_ms: Mapped[float]
    spread: Mapped[float]
    document: Mapped[str] = mapped_column(Text)


class LatencyModelRow(Base):
    __tablename__ = "latency_models"

    calibration_id: Mapped[str] = mapped_column(
        ForeignKey("calibrations.calibration_id", ondelete="CASCADE"), primary_key=True
    )
    cv_median_error: Mapped[float]
    document: Mapped[str] = mapped_column(Text)


class CandidateRow(Base):
    __tablename__ = "drafter_candidates"

    calibration_id: Mapped[str] = mapped_column(
        ForeignKey("calibrations.calibration_id", ondelete="CASCADE"), primary_key=True
    )
    plan_hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    """Hash of skip set and precision."""
    n_skipped: Mapped[int]
    precision: Mapped[str]
    acceptance: Mapped[float]
    cost: Mapped[float]
    source: Mapped[str]
    saved_at: Mapped[str] = mapped_column(TIME)
    document: Mapped[str] = mapped_column(Text)


class StageDocumentRow(Base):
    """Outputs of calibration stages, kept so that a resumed run starts after the last finished one."""

    __tablename__ = "stage_documents"

    calibration_id: Mapped[str] = mapped_column(
        ForeignKey("calibrations.calibration_id", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    document: Mapped[str] = mapped_column(Text)


class ArtifactRow(Base):
    __tablename__ = "artifacts"

    sha256: Mapped[str] = mapped_column(HASH, primary_key=True)
    n_bytes: Mapped[int]
    content: Mapped[bytes] = mapped_column(LargeBinary)


class ProfileRow(Base):
    __tablename__ = "profiles"
    __table_args__ = (Index(None, "saved_at"),)

    profile_hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    model_hash: Mapped[str] = mapped_column(HASH)
    device_hash: Mapped[str] = mapped_column(HASH)
    dtype: Mapped[str]
    saved_at: Mapped[str] = mapped_column(TIME)
    document: Mapped[str] = mapped_column(Text)


class ProfileSummaryRow(Base):
    """What lists show of a profile, so that they need not read it."""

    __tablename__ = "profile_summaries"
    __table_args__ = (
        Index(None, "saved_at", "profile_hash"),
        Index(None, "model_hash", "device_hash", "dtype", "backend", "saved_at"),
    )

    profile_hash: Mapped[str] = mapped_column(ForeignKey("profiles.profile_hash", ondelete="CASCADE"), primary_key=True)
    model_hash: Mapped[str] = mapped_column(HASH)
    device_hash: Mapped[str] = mapped_column(HASH)
    dtype: Mapped[str]
    backend: Mapped[str]
    saved_at: Mapped[str] = mapped_column(TIME)
    document: Mapped[str] = mapped_column(Text)
    """Without what is measured, and without aliases."""
    measured: Mapped[str] = mapped_column(Text)
    """Speeds by decoding mode, of the newest benchmarks."""


class BenchReportRow(Base):
    __tablename__ = "bench_reports"
    __table_args__ = (Index(None, "profile_hash"),)

    report_hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    profile_hash: Mapped[str | None] = mapped_column(ForeignKey("profiles.profile_hash", ondelete="CASCADE"))
    saved_at: Mapped[str] = mapped_column(TIME)
    document: Mapped[str] = mapped_column(Text)


class StartingPlanRow(Base):
    """Skip sets from elsewhere, tried first by a search over a model of as many layers."""

    __tablename__ = "starting_plans"

    name: Mapped[str] = mapped_column(primary_key=True)
    n_layers: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    skip_set: Mapped[str] = mapped_column(Text)


class LeaseRow(Base):
    """Who holds a resource, or held it last: rows stay, so that fencing numbers only grow."""

    __tablename__ = "leases"

    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    owner: Mapped[str | None]
    """None while the resource is free."""
    fencing: Mapped[int]
    taken_at: Mapped[float]
    heartbeat_at: Mapped[float]
    """Seconds since 1970 by the clock of the database."""


class JobRow(Base):
    """A calibration somebody asked for, and how far it is; who runs it holds a lease of kind "job"."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index(None, "device", "status"),
        Index("ix_jobs_device_submitted_at", "device", "submitted_at"),
        Index(None, "submitted_at"),
        Index(None, "status", "submitted_at"),
    )

    job_id: Mapped[str] = mapped_column(primary_key=True)
    device: Mapped[str]
    """Kind of device that is to be calibrated."""
    status: Mapped[str]
    submitted_at: Mapped[str] = mapped_column(TIME)
    started_at: Mapped[str | None] = mapped_column(TIME)
    ended_at: Mapped[str | None] = mapped_column(TIME)
    request: Mapped[str] = mapped_column(Text)
    progress: Mapped[str] = mapped_column(Text)
    cancel_asked: Mapped[bool]
    attempts: Mapped[int]
    worker: Mapped[str | None]
    profile_hash: Mapped[str | None] = mapped_column(HASH)
    """Of the profile it made, which may have been deleted since."""
    message: Mapped[str | None] = mapped_column(Text)


class TokenRow(Base):
    """A token that opens a hub. Rows stay: a store that ever had a token is never open without one."""

    __tablename__ = "hub_tokens"

    token_hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    """SHA-256 of 256 random bits, which nothing leads back from."""
    name: Mapped[str]
    role: Mapped[str]
    created_at: Mapped[str] = mapped_column(TIME)
    expires_at: Mapped[str] = mapped_column(TIME)
    revoked_at: Mapped[str | None] = mapped_column(TIME)
    last_used_on: Mapped[str | None] = mapped_column(String(10))
    """Day, UTC."""


class JobLogRow(Base):
    """What the workers of a job said, the latest lines of it."""

    __tablename__ = "job_logs"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.job_id", ondelete="CASCADE"), primary_key=True)
    document: Mapped[str] = mapped_column(Text)


class ServerReportRow(Base):
    """What a server saw of a profile, as it was received."""

    __tablename__ = "server_reports"
    __table_args__ = (Index(None, "profile_hash", "received_at"), Index(None, "received_at"))

    server: Mapped[str] = mapped_column(primary_key=True)
    profile_hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    received_at: Mapped[str] = mapped_column(TIME, primary_key=True)
    says_drift: Mapped[bool]
    suite_sha256: Mapped[str | None] = mapped_column(HASH)
    """Of the requests that came along."""
    document: Mapped[str] = mapped_column(Text)


class RecalibrationRow(Base):
    """A calibration that drift led to, and how far it is."""

    __tablename__ = "recalibrations"
    __table_args__ = (Index(None, "model_hash", "device_hash"), Index(None, "state"), Index(None, "began_at"))

    recalibration_id: Mapped[str] = mapped_column(primary_key=True)
    profile_hash: Mapped[str] = mapped_column(HASH)
    """Of the profile that no longer fits, which may have been deleted since."""
    model_hash: Mapped[str] = mapped_column(HASH)
    device_hash: Mapped[str] = mapped_column(HASH)
    state: Mapped[str]
    began_at: Mapped[str] = mapped_column(TIME)
    document: Mapped[str] = mapped_column(Text)


class EngineSearchRow(Base):
    """A search for how another engine speculates best; whatever it measures refers to it."""

    __tablename__ = "engine_searches"

    subject_hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    engine: Mapped[str]
    started_at: Mapped[str] = mapped_column(TIME)
    document: Mapped[str] = mapped_column(Text)


class EngineMeasurementRow(Base):
    """What an engine wrote and how fast it was: a kind, and a key that says which one."""

    __tablename__ = "engine_measurements"

    subject_hash: Mapped[str] = mapped_column(
        ForeignKey("engine_searches.subject_hash", ondelete="CASCADE"), primary_key=True
    )
    kind: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    saved_at: Mapped[str] = mapped_column(TIME)
    document: Mapped[str] = mapped_column(Text)


class EngineTrialRow(Base):
    __tablename__ = "engine_trials"

    subject_hash: Mapped[str] = mapped_column(
        ForeignKey("engine_searches.subject_hash", ondelete="CASCADE"), primary_key=True
    )
    concurrency: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    setting_hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    status: Mapped[str]
    predicted: Mapped[float | None]
    """Tokens per second."""
    saved_at: Mapped[str] = mapped_column(TIME)
    document: Mapped[str] = mapped_column(Text)


class EngineResultRow(Base):
    __tablename__ = "engine_results"
    __table_args__ = (Index(None, "saved_at"),)

    result_hash: Mapped[str] = mapped_column(HASH, primary_key=True)
    subject_hash: Mapped[str] = mapped_column(ForeignKey("engine_searches.subject_hash", ondelete="CASCADE"))
    engine: Mapped[str]
    saved_at: Mapped[str] = mapped_column(TIME)
    document: Mapped[str] = mapped_column(Text)
