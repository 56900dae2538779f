"""What a child of a benchmark and its own children use."""

from __future__ import annotations

import contextlib
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from casspec.tuner.engines.guard import descendants


@dataclass(frozen=True)
class Usage:
    """Of a worker and the processes it started."""

    peak_bytes: int | None
    """Most resident memory each has had, added up (VmHWM); None where the system does not tell."""
    cpu_seconds: float


def usage(process: subprocess.Popen[bytes]) -> Usage:
    """As of now; of an ended process nothing is known."""
    pids = _descendants(process.pid) if process.poll() is None else []
    peaks = [peak for pid in pids if (peak := _peak_bytes(pid)) is not None]
    return Usage(sum(peaks) if peaks else None, sum(map(_cpu_seconds, pids)))


def _descendants(pid: int) -> list[int]:
    """The process and all below it; the process alone where the system does not tell."""
    return [pid, *descendants(pid)]


def _peak_bytes(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def _cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
