"""Report pages of profiles, drawn one at a time and kept for a while: a page takes a second or two of a processor."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from casspec.storage.repository import Repository
from casspec.tuner.calibration_history import CalibrationHistory

MOST_KEPT = 16
"""Pages of about 300 KiB."""

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox"
)
"""What a browser lets a report do: show itself."""


class ReportPages:
    """The pages of one store's profiles."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._turn = asyncio.Lock()
        self._kept: OrderedDict[tuple[str, ...], str] = OrderedDict()

    async def of(self, selection: str) -> str:
        """A whole HTML document. Raises ProfileNotFound."""
        async with self._turn:
            return await asyncio.to_thread(self._page, selection)

    def _page(self, selection: str) -> str:
        from casspec.tuner.report_page import render_page

        calibrated = CalibrationHistory.of_profile(self._repository, selection)
        reports = (report.content_hash() for report in calibrated.reports)
        shown = (calibrated.profile.content_hash(), *reports)
        page = self._kept.pop(shown, None) or render_page(calibrated)
        self._kept[shown] = page
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return page
