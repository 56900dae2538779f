"""Documents of calibrations that are queued: what somebody asks for, and how far it is. Neither needs the database."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from casspec.storage.document import Document

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]

ENDED: frozenset[JobStatus] = frozenset({"done", "failed", "cancelled"})
"""What no job leaves again."""


class JobRequest(Document):
    """A calibration that somebody asks for. What is None follows the defaults of `casspec calibrate`."""

    model: str = Field(min_length=1, max_length=1024)
    device: str = Field(max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")
    """Kind of device that is to be calibrated, by the name its workers give: the queue that the job stands in."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    backend: Literal["auto", "lean", "generic"] = "auto"
    suite: str | None = Field(None, max_length=64)
    """Name of a built-in suite; None is the model's default."""
    suite_sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """Stored artifact that holds prompts, JSONL; in place of `suite`."""
    quick: bool = False
    bench: bool | None = None
    force: bool = False
    """Measure again although the calibration is stored."""
    seed: int = Field(0, ge=0, lt=2**63)
    turns: Literal["first", "all"] | None = None
    long: Literal["skip", "cut"] | None = None
    trials: int | None = Field(None, ge=1, le=100_000)
    seconds: float | Literal["auto"] | None = None
    """Of the search."""
    max_batch: int | None = Field(None, ge=1, le=32)
    max_drafters: int | None = Field(None, ge=0, le=64)
    max_extra_bytes: int | None = Field(None, ge=0, lt=2**63)
    per_task: bool | None = None
    against: str | None = Field(None, pattern="^[0-9a-f]{64}$")
    """Stored profile that is raced with the new one, text by text, in the benchmark that ends the job."""

    @model_validator(mode="after")
    def _one_suite(self) -> Self:
        if self.suite is not None and self.suite_sha256 is not None:
            raise ValueError("suite and suite_sha256 name two suites: give one")
        if self.against is not None and self.bench is False:
            raise ValueError("against is raced in the benchmark: leave bench out, or against")
        if isinstance(self.seconds, float) and not 1.0 <= self.seconds < 1e9:
            raise ValueError("seconds: expected auto or a number from 1 on")
        return self


class JobProgress(Document):
    """How far a job is."""

    stage: str = ""
    done: int = 0
    total: int | None = None
    """Steps of the stage, where that is known."""
    note: str = ""
    estimate_s: float | None = None
    """About what the whole job takes, where it has been estimated."""


class LogLine(Document):
    """One line of a job's log. The time is UTC, ISO 8601."""

    number: int
    """Counts the lines of a job from 1, over all its attempts."""
    at: str
    text: str


class JobLog(Document):
    """What the workers of a job said: the latest lines, the earliest of them first."""

    lines: tuple[LogLine, ...] = ()


class Job(Document):
    """A job as it stands. Times are UTC, ISO 8601."""

    job_id: str
    request: JobRequest
    status: JobStatus
    submitted_at: str
    started_at: str | None = None
    """When it was first taken."""
    ended_at: str | None = None
    progress: JobProgress = JobProgress()
    cancel_asked: bool = False
    attempts: int = 0
    """How often it was taken; an attempt that was handed back in order does not count."""
    worker: str | None = None
    """Who took it last."""
    profile_hash: str | None = None
    """Content hash of the profile that a finished one made."""
    message: str | None = None
    """Why it failed, in one line."""

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED
