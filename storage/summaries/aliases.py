"""Who has which alias: every time one was given is kept, and of one model, dtype, device and backend the newest counts."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from casspec.storage.database.connection import Database
from casspec.storage.database.rows import now
from casspec.storage.database.tables import CalibrationRow, StageDocumentRow
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import Backend
from casspec.storage.summaries.documents import LEAN

ALIAS_KIND = "alias"
"""Stage documents of this kind say when which alias was given to the profile a calibration made."""

CANDIDATE = "candidate"
"""Alias of the profile of the newest finished calibration; nobody has to give it."""

RESERVED_ALIASES = frozenset({"latest", "fitting", "none", "compare"})


def check_alias(alias: str) -> None:
    """Raises UnsupportedOption for a name that could be taken for an ID, a version or a word of the command line."""
    looks_like_id = set(alias) <= set("0123456789abcdef")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", alias) or looks_like_id or re.fullmatch(r"v\d+", alias):
        raise UnsupportedOption(f"{alias!r} is no alias: expected a word of small letters, as `production` is")
    if alias in RESERVED_ALIASES:
        raise UnsupportedOption(f"{alias!r} has a meaning of its own: name another alias, for instance production")


def next_time(database: Database, alias: str) -> str:
    """Now, or just after an alias was given last, where another machine's clock is ahead: the newest counts."""
    keys = select(StageDocumentRow.key).where(
        StageDocumentRow.kind == ALIAS_KIND, StageDocumentRow.key.endswith(f" {alias}", autoescape=True)
    )
    with database.reading() as session:
        newest = max((key.partition(" ")[0] for key in session.scalars(keys)), default="")
    at = now()
    if at > newest:
        return at
    return (datetime.fromisoformat(newest) + timedelta(microseconds=1)).isoformat(timespec="microseconds")


def holders(session: Session) -> dict[tuple[str, str, str, str, str], str]:
    """Profile hash by (alias, model, device, dtype, backend): of all times an alias was given there, the newest counts."""
    made = select(*CalibrationRow.__table__.columns).where(CalibrationRow.profile_hash.is_not(None))
    calibrations = {row.calibration_id: row for row in session.execute(made)}
    given = [(row.finished_at, CANDIDATE, row) for row in calibrations.values() if row.finished_at is not None]
    for document in session.scalars(select(StageDocumentRow).where(StageDocumentRow.kind == ALIAS_KIND)):
        if document.calibration_id in calibrations:
            time, _, alias = document.key.partition(" ")
            given.append((time, alias, calibrations[document.calibration_id]))
    return {
        (alias, row.model_hash, row.device_hash, row.dtype, _backend(row)): str(row.profile_hash)
        for _, alias, row in sorted(given, key=lambda one: one[0])
    }


def _backend(row: Row[Any]) -> Backend:
    """What a calibration ran on; settings that do not say so are of the lean forward."""
    backend: Backend | None = json.loads(row.settings).get("backend")
    return backend or LEAN


def aliases(session: Session) -> dict[str, list[str]]:
    """By the content hash of the profile that has them."""
    found: dict[str, list[str]] = {}
    for (alias, *_), profile_hash in sorted(holders(session).items()):
        if alias not in found.setdefault(profile_hash, []):
            found[profile_hash].append(alias)
    return found
