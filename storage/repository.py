"""Documents in, documents out: with `measurements`, `tokens`, `jobs/queue` and `engines/store` the only code that touches the tables.

`Repository` adds to a calibration's measurements what outlives it: profiles, artifacts, bench reports, imported
starting plans.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from casspec.storage.database.rows import insert_once, insert_or_replace, now
from casspec.storage.database.tables import (
    ArtifactRow,
    BenchReportRow,
    CalibrationRow,
    ProfileRow,
    StageDocumentRow,
    StartingPlanRow,
)
from casspec.storage.engines.store import EngineStore
from casspec.storage.errors import ProfileNotFound, StorageError
from casspec.storage.jobs.queue import JobQueue
from casspec.storage.leases import forget
from casspec.storage.measurements import Calibration, Measurements, hash_of_settings, keep_document, newest_attempt
from casspec.storage.reports.recalibrations import Recalibrations
from casspec.storage.reports.received import Reports
from casspec.storage.schema import (
    Artifact,
    BenchReport,
    CascadeProfile,
    DeviceFingerprint,
    ModelFingerprint,
    SkipSet,
)
from casspec.storage.summaries.aliases import ALIAS_KIND, aliases, check_alias, holders, next_time
from casspec.storage.summaries.documents import LEAN
from casspec.storage.summaries.profile_list import ProfileList, keep_measured, keep_summary
from casspec.storage.tokens import Tokens
from casspec.storage.watched import WatchSummary

__all__ = ["Calibration", "Repository", "StartingPlan"]

ARTIFACT_KIND = "artifact"
"""Stage documents of this kind say which artifacts a calibration made."""

WATCHED_KIND = "watched"
"""Stage documents of this kind say what was seen of the profile while it was served."""


@dataclass(frozen=True, slots=True)
class StartingPlan:
    """A skip set from elsewhere, to be tried first by a search."""

    name: str
    n_layers: int
    skip: SkipSet


class Repository(Measurements):
    """All stored documents of one database."""

    @property
    def jobs(self) -> JobQueue:
        """Calibrations that are queued."""
        return JobQueue(self._database)

    @property
    def summaries(self) -> ProfileList:
        """What lists show of profiles."""
        return ProfileList(self._database)

    @property
    def place(self) -> str:
        """Where the database is, without its password."""
        return str(self._database)

    @property
    def tokens(self) -> Tokens:
        """What opens a hub over this store."""
        return Tokens(self._database)

    @property
    def reports(self) -> Reports:
        """What servers see of the profiles they serve."""
        return Reports(self._database)

    @property
    def recalibrations(self) -> Recalibrations:
        """Calibrations that drift led to."""
        return Recalibrations(self._database)

    @property
    def engines(self) -> EngineStore:
        """What other engines were measured at."""
        return EngineStore(self._database)

    # -------------------------------------------------------------------------------------------------------- profiles

    def save_profile(self, calibration_id: str | None, profile: CascadeProfile) -> CascadeProfile:
        """Stores a profile under its content hash; without a calibration it is an imported one.

        A calibration keeps its first profile, which is returned; equal content keeps the one stored before.
        """
        with self._database.writing() as session:
            calibration = None if calibration_id is None else self._calibration(session, calibration_id)
            if calibration is not None and calibration.profile_hash is not None:
                return _profile(session.get_one(ProfileRow, calibration.profile_hash))
            profile_hash = profile.content_hash()
            insert_once(
                session,
                ProfileRow,
                profile_hash=profile_hash,
                model_hash=profile.model.identity(),
                device_hash=profile.device.identity(),
                dtype=profile.dtype,
                saved_at=now(),
                document=profile.canonical_json(),
            )
            if calibration is not None:
                calibration.profile_hash = profile_hash
            row = session.get_one(ProfileRow, profile_hash)
            stored = _profile(row)
            keep_summary(session, row, stored)
            return stored

    def finish(self, calibration_id: str) -> None:
        """Marks a calibration whose profile is saved as finished: from now on it answers from the store.

        Raises StorageError when it has no profile.
        """
        with self._database.writing() as session:
            row = self._calibration(session, calibration_id)
            if row.profile_hash is None:
                raise StorageError(f"calibration {calibration_id} has no profile yet: run `casspec calibrate` again")
            row.finished_at = row.finished_at or now()

    def finished_calibration(
        self, model: ModelFingerprint, device: DeviceFingerprint, dtype: str, settings: Mapping[str, Any]
    ) -> tuple[str, CascadeProfile] | None:
        """ID and profile of the newest calibration of these inputs; None when that one does not exist or still runs."""
        with self._database.reading() as session:
            newest = newest_attempt(session, hash_of_settings(model, device, dtype, settings))
            if newest is None or newest.finished_at is None or newest.profile_hash is None:
                return None
            return newest.calibration_id, _profile(session.get_one(ProfileRow, newest.profile_hash))

    def calibration_of(self, selection: str) -> tuple[str, dict[str, Any]]:
        """ID and settings of the calibration that made a profile. Raises ProfileNotFound for one that was imported."""
        with self._database.reading() as session:
            profile = self._find(session, selection)
            made = select(CalibrationRow).where(CalibrationRow.profile_hash == profile.profile_hash)
            row = session.scalar(made.order_by(CalibrationRow.started_at.desc()).limit(1))
            if row is None:
                raise ProfileNotFound(
                    f"profile {profile.profile_hash[:12]} was imported, its measurements are not in {self._database}: "
                    "run `casspec calibrate`"
                )
            return row.calibration_id, json.loads(row.settings)

    def profile(self, selection: str) -> CascadeProfile:
        """The profile with this ID, unique beginning of one or alias, or the `latest` stored. Raises ProfileNotFound."""
        with self._database.reading() as session:
            return _profile(self._find(session, selection))

    def profiles(self) -> list[CascadeProfile]:
        """All profiles, the latest first."""
        newest_first = select(ProfileRow.document).order_by(ProfileRow.saved_at.desc(), ProfileRow.profile_hash)
        return self._documents(CascadeProfile, newest_first)

    def delete_profile(self, selection: str) -> CascadeProfile:
        """Deletes a profile with its bench reports, its calibrations' measurements, and artifacts nobody else names."""
        with self._database.writing() as session:
            row = self._find(session, selection)
            profile, profile_hash = _profile(row), row.profile_hash
            named = _named_artifacts(session)
            made = select(CalibrationRow.calibration_id).where(CalibrationRow.profile_hash == profile_hash)
            for calibration_id in session.scalars(made).all():
                forget(session, calibration_id)
            session.execute(delete(CalibrationRow).where(CalibrationRow.profile_hash == profile_hash))
            session.execute(delete(ProfileRow).where(ProfileRow.profile_hash == profile_hash))
            unused = named - _named_artifacts(session)
            session.execute(delete(ArtifactRow).where(ArtifactRow.sha256.in_(unused)))
            return profile

    # --------------------------------------------------------------------------------------------------------- aliases

    def set_alias(self, alias: str, selection: str) -> CascadeProfile:
        """Gives a profile an alias, which no other profile of the same model, dtype, device and backend has from then on.

        Raises UnsupportedOption for a name that could be taken for anything else, ProfileNotFound for a profile that is not
        stored or was imported: an alias belongs to the calibration that made the profile.
        """
        check_alias(alias)
        profile = self.profile(selection)
        calibration_id, _ = self.calibration_of(profile.content_hash())
        with self.alone():
            self.put_document(
                calibration_id, ALIAS_KIND, f"{next_time(self._database, alias)} {alias}", {"alias": alias}
            )
        return profile

    def aliases(self) -> dict[str, list[str]]:
        """Aliases by the content hash of the profile that has them."""
        with self._database.reading() as session:
            return aliases(session)

    def alias_holders(self, profile: CascadeProfile) -> dict[str, str]:
        """Among profiles of the same model, dtype, device and backend: by alias, the content hash of the one that has it."""
        same = (profile.model.identity(), profile.device.identity(), profile.dtype, profile.backend or LEAN)
        with self._database.reading() as session:
            return {alias: found for (alias, *subject), found in holders(session).items() if tuple(subject) == same}

    def _calibration(self, session: Session, calibration_id: str) -> CalibrationRow:
        row = session.get(CalibrationRow, calibration_id, with_for_update=True)
        if row is None:
            raise StorageError(
                f"calibration {calibration_id} is not in {self._database}: start `casspec calibrate` again"
            )
        return row

    def _find(self, session: Session, selection: str) -> ProfileRow:
        if selection == "latest":
            newest_first = select(ProfileRow).order_by(ProfileRow.saved_at.desc(), ProfileRow.profile_hash)
            latest = session.scalar(newest_first.limit(1))
            if latest is None:
                raise ProfileNotFound(f"no profile is stored in {self._database} yet: run `casspec calibrate` first")
            return latest
        named = [profile_hash for profile_hash, names in aliases(session).items() if selection in names]
        if len(named) == 1:
            return session.get_one(ProfileRow, named[0])
        if named:
            raise ProfileNotFound(
                f"{selection!r} names a profile of each of several models, precisions, backends or devices "
                f"({_some_ids(named)}): give the ID of one"
            )
        starts = ProfileRow.profile_hash.startswith(selection.lower(), autoescape=True)
        found = session.scalars(select(ProfileRow).where(starts).limit(4)).all() if selection else []
        if not found:
            raise ProfileNotFound(
                f"no profile {selection!r} in {self._database}: `casspec profiles list` shows the stored IDs"
            )
        if len(found) > 1:
            some = _some_ids([row.profile_hash for row in found])
            raise ProfileNotFound(f"profile {selection!r} is ambiguous ({some}): give more digits of the ID")
        return found[0]

    # ------------------------------------------------------------------------------------------------------- artifacts

    def save_artifact(self, name: str, content: bytes, calibration_id: str | None = None) -> Artifact:
        """Stores bytes under their hash; with a calibration, its first artifact of that name stays and is returned."""
        artifact = Artifact(name=name, sha256=hashlib.sha256(content).hexdigest(), n_bytes=len(content))
        with self._database.writing() as session:
            if calibration_id is not None:
                document = artifact.model_dump(mode="json")
                kept = Artifact.model_validate(keep_document(session, calibration_id, ARTIFACT_KIND, name, document))
                if kept != artifact:
                    return kept
            insert_once(session, ArtifactRow, sha256=artifact.sha256, n_bytes=artifact.n_bytes, content=content)
        return artifact

    def artifact(self, sha256: str) -> bytes | None:
        """The bytes with this hash, None when they are not stored here."""
        with self._database.reading() as session:
            return session.scalar(select(ArtifactRow.content).where(ArtifactRow.sha256 == sha256))

    # ----------------------------------------------------------------------------------------------------------- bench

    def save_bench(self, profile_id: str | None, report: BenchReport) -> BenchReport:
        """Identified by its content; `profile_id` None for methods measured without a profile."""
        with self._database.writing() as session:
            profile_hash = None if profile_id is None else self._find(session, profile_id).profile_hash
            insert_once(
                session,
                BenchReportRow,
                report_hash=report.content_hash(),
                profile_hash=profile_hash,
                saved_at=now(),
                document=report.canonical_json(),
            )
            if profile_hash is not None:
                keep_measured(session, profile_hash)
        return report

    def bench_reports(self, profile_id: str | None = None) -> list[BenchReport]:
        """The reports of one profile, or all; the latest first."""
        statement = select(BenchReportRow.document).order_by(BenchReportRow.saved_at.desc())
        with self._database.reading() as session:
            if profile_id is not None:
                statement = statement.where(BenchReportRow.profile_hash == self._find(session, profile_id).profile_hash)
            return [BenchReport.model_validate_json(text) for text in session.scalars(statement)]

    # ----------------------------------------------------------------------------------------------------------- watch

    def save_watched(self, name: str, summary: WatchSummary) -> None:
        """Keeps what was seen of a profile; an earlier summary of that name is replaced.

        Raises ProfileNotFound for a profile that is not stored or was imported: summaries stand beside the calibration that made it.
        """
        calibration_id, _ = self.calibration_of(summary.profile_id)
        key = {"calibration_id": calibration_id, "kind": WATCHED_KIND, "key": name}
        with self._database.writing() as session:
            insert_or_replace(session, StageDocumentRow, key, document=summary.canonical_json())

    def watched(self, selection: str) -> list[WatchSummary]:
        """What was seen of a profile, the earliest first. Raises ProfileNotFound as `calibration_of`."""
        calibration_id, _ = self.calibration_of(selection)
        kept = self.documents(calibration_id, WATCHED_KIND).values()
        return sorted((WatchSummary.model_validate(one) for one in kept), key=lambda one: one.began_at)

    # -------------------------------------------------------------------------------------------------- starting plans

    def save_starting_plan(self, name: str, skip: SkipSet, n_layers: int) -> None:
        """Stores a skip set to start searches from; the same name for as many layers is replaced.

        Raises ValueError when an index does not exist in a model of `n_layers` layers.
        """
        document = skip.check(n_layers).canonical_json()
        with self._database.writing() as session:
            insert_or_replace(session, StartingPlanRow, {"name": name, "n_layers": n_layers}, skip_set=document)

    def starting_plans(self, n_layers: int) -> list[StartingPlan]:
        """The imported skip sets that fit a model of `n_layers` layers, by name."""
        with self._database.reading() as session:
            rows = session.scalars(
                select(StartingPlanRow).where(StartingPlanRow.n_layers == n_layers).order_by(StartingPlanRow.name)
            )
            return [StartingPlan(row.name, row.n_layers, SkipSet.model_validate_json(row.skip_set)) for row in rows]


def _some_ids(hashes: Sequence[str]) -> str:
    return ", ".join(sorted(profile_hash[:12] for profile_hash in hashes[:3])) + (" ..." if len(hashes) > 3 else "")


def _profile(row: ProfileRow) -> CascadeProfile:
    return CascadeProfile.model_validate_json(row.document)


def _named_artifacts(session: Session) -> set[str]:
    """Hashes that any stored profile or calibration still refers to."""
    profiles = [_profile(row) for row in session.scalars(select(ProfileRow))]
    made = session.scalars(select(StageDocumentRow.document).where(StageDocumentRow.kind == ARTIFACT_KIND))
    return {artifact.sha256 for profile in profiles for artifact in profile.artifacts} | {
        json.loads(document)["sha256"] for document in made
    }
