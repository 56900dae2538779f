"""Matplotlib figures as SVG inside a page: in the page's own font and colours, and told in words for those who listen."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_INCHES = 6.4

ON_PAGE = {
    "#000000": "currentColor",
    "#ffffff": "var(--paper)",
    "#cccccc": "var(--line)",
    "'DejaVu Sans'": "system-ui, sans-serif",
}
"""What matplotlib writes for text, background, frames of legends and its font, and what the page has for it: so a chart
follows a dark page."""


def inline_svg(figure: Figure, name: str, alt: str) -> str:
    """The `<svg>` element of a figure, `WIDTH_INCHES` wide so that the letters of all figures are of one size.

    Titles go, the page's caption stands in for them. `name` is unique on the page: IDs are prefixed with it, because all
    figures of a page share one name space.
    """
    from matplotlib import rc_context

    width, height = figure.get_size_inches()
    figure.set_size_inches(WIDTH_INCHES, height * min(1.0, WIDTH_INCHES / width))
    figure.suptitle("")
    for axes in figure.axes:
        axes.set_title("")
        axes.spines[["top", "right"]].set_visible(False)
    written = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.sans-serif": ["DejaVu Sans"]}):
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    _, _, text = written.getvalue().partition("<svg")
    opening, _, drawing = text.partition(">")
    opening = re.sub(r'\b(width|height)="[^"]*"', "", opening)
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", drawing)
    for written_by_library, of_page in ON_PAGE.items():
        drawing = drawing.replace(written_by_library, of_page)
    return f'<svg role="img" aria-label="{html.escape(alt)}"{opening}>{drawing}'.strip()
