"""What lists, the matrix and comparisons say of profiles. None of it needs the database.

A reader ignores fields that it does not know: a hub of a later release may say more.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from casspec.storage.schema import Backend, CascadeProfile, Decision, DeviceCeilings, Mode

LEAN: Backend = "lean"
"""What documents mean that name no backend."""

PRODUCTION = "production"
"""The alias of profiles that are served."""

ID = r"^[0-9a-f]{12,64}$"
"""Of a profile: its content hash, or the first twelve digits and more of it."""


class Shown(BaseModel):
    """Base of all that is shown: immutable."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants")


class MeasuredSpeed(Shown):
    """Of `dytc` as the profile sets it, over all tasks, in the newest benchmark that has the decoding mode."""

    speedup: float
    """Over plain decoding of the same texts."""
    spread: float = 0.0
    """Of the speedup over repeats, relative."""
    tokens_per_second: float
    measured_at: str
    """UTC, ISO 8601."""


class ShownModel(Shown):
    """A model, by the identity of its fingerprint."""

    name: str
    family: str
    identity: str


class ShownDevice(Shown):
    """A device's fingerprint and its identity."""

    kind: str
    name: str
    capability: str
    threads: int
    torch_version: str
    memory_class: int | None = None
    ceilings: DeviceCeilings | None = None
    identity: str


class ProfileSummary(Shown):
    """What one chooses a profile by. Times are UTC, ISO 8601; sizes are bytes."""

    profile_id: str
    profile_hash: str
    created_at: str
    saved_at: str
    """When it came to this store."""
    model: ShownModel
    device: ShownDevice
    dtype: str
    backend: str
    suite: str
    decision: Decision
    drafters: tuple[str, ...] = ()
    extra_bytes: int = 0
    """Memory of its plans beside the model's own weights."""
    predicted_speedup: dict[str, float] = Field(default_factory=dict)
    """By decoding mode."""
    measured: dict[Mode, MeasuredSpeed] = Field(default_factory=dict)
    """By decoding mode; {} where it was never benchmarked."""
    aliases: tuple[str, ...] = ()


class MatrixCell(Shown):
    """What there is of a model on a device in a dtype and on a backend."""

    profile: ProfileSummary
    """The one that has the matrix's alias; where none has, the latest."""
    latest_id: str
    n_profiles: int


class Matrix(Shown):
    """Cells by model and device, those that were calibrated last first."""

    alias: str
    """Which a cell shows the holder of, where there is one."""
    cells: tuple[MatrixCell, ...] = ()


class ProfilePage(Shown):
    """A page of a list, the latest first."""

    profiles: tuple[ProfileSummary, ...] = ()


class Difference(Shown):
    """A field in which two profiles differ; None where one has no such field."""

    section: str
    field: str
    a: Any = None
    b: Any = None


class Comparison(Shown):
    """Two profiles, and all they differ in."""

    a: ProfileSummary
    b: ProfileSummary
    differences: tuple[Difference, ...] = ()


class Overview(Shown):
    """How much there is of everything."""

    jobs: dict[str, int]
    """By status."""
    profiles: int


def summary_of(profile: CascadeProfile, saved_at: str) -> ProfileSummary:
    """Of a profile that has no alias and was not measured."""
    model, device = profile.model, profile.device
    return ProfileSummary(
        profile_id=profile.profile_id,
        profile_hash=profile.content_hash(),
        created_at=profile.created_at,
        saved_at=saved_at,
        model=ShownModel(name=model.name, family=model.family, identity=model.identity()),
        device=ShownDevice(**device.model_dump(), identity=device.identity()),
        dtype=profile.dtype,
        backend=profile.backend or LEAN,
        suite=profile.suite,
        decision=profile.decision,
        drafters=tuple(drafter.name for drafter in profile.drafters),
        extra_bytes=profile.extra_bytes,
        predicted_speedup=dict(profile.predicted_speedup),
    )
