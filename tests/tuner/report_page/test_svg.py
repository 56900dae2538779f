"""Charts inside the page."""

from __future__ import annotations

import re


def test_charts_take_the_colours_of_the_page(page: str) -> None:
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, re.DOTALL))
    assert "#000000" not in drawings
    assert "#ffffff" not in drawings
    assert "prefers-color-scheme: dark" in page
