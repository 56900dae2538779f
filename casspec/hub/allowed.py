"""Which models a hub calibrates: names that were allowed one by one, and what lies in directories that were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from casspec.runtime.loading.names import JOINT
from casspec.storage.errors import UnsupportedOption

BUILT_IN = ("reference", "smollm2", "smollm2-dithered")
"""Names of casspec's own models that need no leave."""


@dataclass(frozen=True)
class AllowedModels:
    """An allow-list.

    Attributes:
        names: as a job has to write them. directories: a job names what lies in one by its path, whole or from there.
    """

    names: Sequence[str] = ()
    directories: Sequence[Path] = ()

    def located(self, model: str) -> str:
        """The name or path to load. Raises UnsupportedOption for a model that is not allowed, whether it exists or not."""
        if model in (*BUILT_IN, *self.names):
            return model
        if JOINT not in model and "\0" not in model and model.strip(" ."):
            for directory in self.directories:
                place = _inside(directory.expanduser().resolve(), model)
                if place is not None:
                    return str(place)
        raise UnsupportedOption(
            f"model '{model}' is not allowed here: expected {', '.join((*BUILT_IN, *self.names))}, or a path in a directory that the hub "
            "was started with (--models-in)"
        )


def _inside(root: Path, model: str) -> Path | None:
    """What lies under a directory; None for what is not there, lies elsewhere, or is no path: too long, or links in a circle."""
    try:
        place = (root / model).resolve()
        return place if place != root and place.is_relative_to(root) and place.exists() else None
    except (OSError, RuntimeError, ValueError):
        return None
