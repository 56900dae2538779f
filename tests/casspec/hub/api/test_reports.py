from __future__ import annotations

import asyncio

import pytest

from casspec.hub.api import reports
from casspec.hub.api.reports import ReportPages
from casspec.storage.repository import Repository
from casspec.tuner.calibration_history import CalibrationHistory
from tests.storage import samples


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """IDs of the profiles whose pages were drawn."""
    found: list[str] = []

    def draw(calibrated: CalibrationHistory) -> str:
        found.append(calibrated.profile.profile_id)
        return f"page {len(found)}"

    monkeypatch.setattr("casspec.tuner.report_page.render_page", draw)
    return found


def test_a_page_is_drawn_once_until_something_new_is_measured(repository: Repository, drawn: list[str]) -> None:
    profile = repository.save_profile(None, samples.profile())
    pages = ReportPages(repository)
    assert [asyncio.run(pages.of("latest")) for _ in range(2)] == ["page 1", "page 1"]
    repository.save_bench(profile.profile_id, samples.bench_report())
    assert asyncio.run(pages.of(profile.profile_id)) == "page 2"


def test_no_more_pages_are_kept_than_set(
    repository: Repository, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "MOST_KEPT", 1)
    first, second = (repository.save_profile(None, samples.profile(seed=seed)).profile_id for seed in (1, 2))
    pages = ReportPages(repository)
    for selection in (first, second, second, first):
        asyncio.run(pages.of(selection))
    assert drawn == [first, second, first]
