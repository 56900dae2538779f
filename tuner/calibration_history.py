"""Everything the store knows of one calibration, read at once: what reports show and what the mirror copies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from casspec.storage.errors import ProfileNotFound
from casspec.storage.measurements import VERDICT_KIND
from casspec.storage.repository import Repository
from casspec.storage.schema import BenchReport, CascadeProfile, DrafterCandidate, LatencySample, Mode


@dataclass(frozen=True)
class CalibrationHistory:
    """A profile with what was measured on the way to it.

    Attributes:
        calibration_id: None for an imported profile, which brings no measurements.
        settings: JSON values that decided the outcome.
        candidates: in the order they were evaluated.
        samples: latencies in the order they were measured.
        reports: benchmarks of the profile, the latest first.
        verdicts: by precision, JSON of `PrecisionVerdict`.
        files: larger artifacts of the profile by name, where they are stored here.
        aliases: among profiles of this model, dtype, device and backend: by alias, the content hash of the profile that has it.
    """

    profile: CascadeProfile
    calibration_id: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    candidates: Sequence[DrafterCandidate] = ()
    samples: Sequence[LatencySample] = ()
    reports: Sequence[BenchReport] = ()
    verdicts: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_profile(cls, repository: Repository, selection: str) -> Self:
        """The newest calibration that made a profile. Raises ProfileNotFound when no such profile is stored."""
        profile = repository.profile(selection)
        try:
            calibration_id, settings = repository.calibration_of(profile.content_hash())
        except ProfileNotFound:
            return cls(profile, reports=repository.bench_reports(profile.content_hash()))
        return cls.of_calibration(repository, calibration_id, profile, settings)

    @classmethod
    def of_calibration(
        cls, repository: Repository, calibration_id: str, profile: CascadeProfile, settings: Mapping[str, Any]
    ) -> Self:
        """A calibration whose profile is saved."""
        contents = {artifact.name: repository.artifact(artifact.sha256) for artifact in profile.artifacts}
        return cls(
            profile=profile,
            calibration_id=calibration_id,
            settings=settings,
            candidates=repository.candidates(calibration_id),
            samples=repository.latency_samples(calibration_id),
            reports=repository.bench_reports(profile.content_hash()),
            verdicts=repository.documents(calibration_id, VERDICT_KIND),
            files={name: content for name, content in contents.items() if content is not None},
            aliases=repository.alias_holders(profile),
        )

    @property
    def newest_reports(self) -> list[BenchReport]:
        """See `latest_of_modes`."""
        return latest_of_modes(self.reports)

    @property
    def flat_settings(self) -> dict[str, Any]:
        """Settings by stage and name, "search.trials"."""
        flat: dict[str, Any] = {}
        for name, value in self.settings.items():
            if isinstance(value, Mapping):
                flat |= {f"{name}.{inner}": setting for inner, setting in value.items()}
            else:
                flat[name] = value
        return flat

    @property
    def name(self) -> str:
        """For people: which model where."""
        return f"{self.profile.model.name} on {self.profile.device.name}, {self.profile.dtype}"


def latest_of_modes(reports: Iterable[BenchReport]) -> list[BenchReport]:
    """The latest benchmark of each decoding mode, each with the rows of the modes that it is the latest of; `reports`: the latest first."""
    latest, known = [], set[Mode]()
    for report in reports:
        rows = tuple(row for row in report.rows if row.mode not in known)
        if rows:
            latest.append(report.model_copy(update={"rows": rows}))
            known.update(row.mode for row in rows)
    return latest
