"""Which profiles are said to drift, and whether one is to be calibrated again now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from casspec.hub.reports.drift_settings import DAY_S, DriftSettings
from casspec.runtime.watch.drift import Drift
from casspec.storage.errors import ProfileNotFound
from casspec.storage.reports.documents import Recalibration, ReceivedReport
from casspec.storage.reports.received import MOST_LISTED
from casspec.storage.repository import Repository
from casspec.storage.schema import CascadeProfile
from casspec.storage.summaries.aliases import CANDIDATE

FRESH_S = DAY_S
"""Reports that are older say nothing of now."""


@dataclass(frozen=True)
class Considered:
    """A profile that reports say drift of.

    Attributes:
        alias: under which it is served. is_due: whether it is to be calibrated again now. says: why, or why not, in a line.
    """

    profile: CascadeProfile
    alias: str
    is_due: bool
    says: str


def considered(repository: Repository, settings: DriftSettings, now_s: float) -> list[Considered]:
    """Of all that drift now and are not being calibrated again already.

    Args:
        now_s: seconds since 1970.
    """
    found = []
    for profile_hash in repository.reports.drifting(moment(now_s - FRESH_S)):
        try:
            profile = repository.profile(profile_hash)
        except ProfileNotFound:
            continue
        one = _considered(repository, settings, profile, now_s)
        if one is not None:
            found.append(one)
    return found


def _considered(
    repository: Repository, settings: DriftSettings, profile: CascadeProfile, now_s: float
) -> Considered | None:
    last = repository.recalibrations.last(profile)
    if last is not None and last.is_open:
        return None
    after = max(moment(now_s - FRESH_S), (last and last.ended_at) or "")
    history = repository.reports.history(profile.content_hash(), limit=MOST_LISTED)
    drifting = in_a_row(report for report in history if report.received_at > after)
    if not drifting:
        return None
    alias = next((one.alias for one in drifting if one.alias not in (None, CANDIDATE)), None) or ""
    why_not = _refusal(repository, settings, profile, alias, len(drifting), last, now_s)
    told = f"{len(drifting)} reports say drift, the newest from {drifting[0].server}: {_drift(drifting[0])}"
    return Considered(profile, alias, why_not is None, why_not or told)


def in_a_row(reports: Iterable[ReceivedReport]) -> list[ReceivedReport]:
    """Of reports, the newest first, those that say drift and that no newer one of the same server contradicts."""
    fits: set[str] = set()
    found = []
    for report in reports:
        if not report.drifts:
            fits.add(report.server)
        elif report.server not in fits:
            found.append(report)
    return found


def _refusal(
    repository: Repository,
    settings: DriftSettings,
    profile: CascadeProfile,
    alias: str,
    n_reports: int,
    last: Recalibration | None,
    now_s: float,
) -> str | None:
    """Why it is not calibrated again now; None where it is."""
    if not alias:
        return "no server asked for it by an alias: serve hub://HOST/production, so that another profile can be promoted there"
    if repository.alias_holders(profile).get(alias) != profile.content_hash():
        return f"another profile is '{alias}' by now: servers take it at their next poll"
    if n_reports < settings.least_reports:
        return f"{n_reports} of {settings.least_reports} reports say drift"
    if last is not None:
        next_s = datetime.fromisoformat(last.began_at).timestamp() + settings.least_interval_s
        if now_s < next_s:
            return f"this model was calibrated again on this device from {last.began_at[:16]} UTC on: not before {moment(next_s)[:16]} UTC"
    return None


def _drift(report: ReceivedReport) -> str:
    """The first of its drifts in a line."""
    told = report.drifts[0]
    more = "" if len(report.drifts) == 1 else f", and {len(report.drifts) - 1} more"
    return Drift(told.kind, told.subject, told.mode, told.now, told.calibrated).says.partition(": ")[2] + more


def moment(seconds: float) -> str:
    """Seconds since 1970 as UTC in ISO 8601, as the store writes times."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
