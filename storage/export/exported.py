"""What an export returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Exported:
    """A file's text for another engine, and how much of the profile it carries."""

    text: str
    fidelity: Literal["full", "partial"]
    note: str
    """For which release it was written, what is lost, how to use it; a few lines."""
