"""What a child uses, and its end."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.processes import usage
from casspec.tuner.engines.process import end_group

STARTS_ANOTHER = "import subprocess, sys; subprocess.Popen(['sleep', '600']); print(flush=True); sys.stdin.read()"


def child() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", STARTS_ANOTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def test_a_group_ends_with_all_that_it_started() -> None:
    process = child()
    assert usage(process).cpu_seconds > 0
    end_group(process, 5)
    assert process.stdout is not None
    assert process.stdout.read() == b"", "closed only when all that hold it have ended"
    assert usage(process).peak_bytes is None
