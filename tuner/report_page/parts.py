"""What a page is made of; `page.html.j2` says how each part looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Cells = Sequence[str]

NONE = "–"
"""In a cell: nothing is known, or nothing was asked."""


@dataclass(frozen=True)
class Table:
    """Rows of text. The first column names the row; `figures` of the last columns hold figures, lined up at the right.

    `folded`: shown when the reader opens it.
    """

    caption: str
    header: Cells
    rows: Sequence[Cells]
    figures: int = 0
    folded: bool = False
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Drawing:
    """A chart as `<svg>`, with what it shows below it."""

    svg: str
    caption: str
    kind: Literal["drawing"] = "drawing"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: Literal["text"] = "text"


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    caption: str
    lines: Sequence[str]
    kind: Literal["commands"] = "commands"


Part = Table | Drawing | Text | Commands


@dataclass(frozen=True)
class Section:
    """A heading with its parts; `anchor` is unique on the page."""

    anchor: str
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Highlight:
    """A figure one looks for first."""

    label: str
    value: str
    note: str = ""
