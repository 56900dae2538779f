"""The page of one calibration."""

from __future__ import annotations

import pytest

from casspec.tuner.report_page import render_page
from tests.tuner.report_page.pages import history


@pytest.fixture(scope="module")
def page() -> str:
    return render_page(history())
