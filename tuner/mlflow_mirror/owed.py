"""What MLflow has not been told yet: an empty file each, written before it is told and taken away afterwards."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

NAME = re.compile(r"(?P<profile>[0-9a-f]{64}|none)\.(?P<bench>[0-9a-f]{64}|none)")


@dataclass(frozen=True)
class Debt:
    """A calibration by the hash of its profile, a benchmark by its own, or a benchmark of a calibration by both."""

    profile_hash: str | None = None
    bench_hash: str | None = None


class Owed:
    """In a folder, which need not be there. A disk that takes no file is no reason to fail: then nothing is remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, debt: Debt) -> None:
        """Remembers it."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file(debt).touch()

    def settle(self, debt: Debt) -> None:
        """Forgets it."""
        with suppress(OSError):
            self._file(debt).unlink(missing_ok=True)

    def debts(self) -> list[Debt]:
        """Calibrations before benchmarks of theirs."""
        try:
            names = [NAME.fullmatch(file.name) for file in self._folder.iterdir()]
        except OSError:
            return []
        found = [
            Debt(*(None if each == "none" else each for each in name.group("profile", "bench")))
            for name in names
            if name
        ]
        return sorted(
            found, key=lambda debt: (debt.bench_hash is not None, debt.profile_hash or "", debt.bench_hash or "")
        )

    def _file(self, debt: Debt) -> Path:
        return self._folder / f"{debt.profile_hash or 'none'}.{debt.bench_hash or 'none'}"
