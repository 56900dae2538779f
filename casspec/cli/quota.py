"""How much of the processor a control group leaves this process: in a container that is often less than the machine has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

ROOT, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def quota_cores(root: Path = ROOT, own: Path = OWN) -> float | None:
    """Cores' worth of time that the groups of this process may use, the least of all above it; None where none is bounded.

    Reads both versions of control groups.
    """
    try:
        lines = own.read_text("utf-8").splitlines()
    except OSError:
        return None
    found: list[float] = []
    for line in lines:
        parts = line.split(":", 2)
        if len(parts) != 3:
            continue
        version_2, controllers, path = parts[0] == "0" and not parts[1], parts[1].split(","), parts[2]
        if version_2:
            found += _along(root, path, _of_version_2)
        elif "cpu" in controllers:
            for mount in (parts[1], "cpu"):
                found += _along(root / mount, path, _of_version_1)
    return min(found, default=None)


def _along(mount: Path, path: str, read: Callable[[Path], float | None]) -> list[float]:
    """Quotas of a group and of those above it. A container sees its own group as the root."""
    inside = PurePosixPath(path.lstrip("/"))
    folders = dict.fromkeys([mount / inside, *(mount / one for one in inside.parents), mount])
    return [quota for folder in folders if (quota := read(folder)) is not None]


def _of_version_2(folder: Path) -> float | None:
    words = _words(folder / "cpu.max")
    return _ratio(*words) if len(words) == 2 and words[0] != "max" else None


def _of_version_1(folder: Path) -> float | None:
    quota, period = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    return _ratio(quota[0], period[0]) if len(quota) == len(period) == 1 and quota[0] != "-1" else None


def _ratio(quota: str, period: str) -> float | None:
    try:
        return int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None


def _words(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").split()
    except OSError:
        return []
