from __future__ import annotations

import pytest

from casspec.storage.repository import Repository
from tests.casspec.hub.reports.drifting import Fleet, calibrated


@pytest.fixture
def fleet(repository: Repository) -> Fleet:
    """Servers of a profile that is production."""
    return Fleet(repository, calibrated(repository, "production"))
