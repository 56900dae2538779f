"""The tests that need a CUDA device, in processes of their own, as far as time allows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu.stages import Work

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "gpu"
MOST_PROCESSES = 4
RESULT = re.compile(r"\b(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b")
COLLECTED = re.compile(r"^(?:collecting \.\.\. )?collected (\d+) item|^\d+ workers? \[(\d+) item")
TEST = re.compile(r"\S+::\S+(?: - .*)?")


class FailedTests(Exception):
    """Says how many, and which the first one is."""


def run_tests(work: Work, folder: Path = FOLDER) -> None:
    """One row: how many tests passed, failed, were skipped. Small files come first.

    A stage that is stopped leaves the counts until then, and a note of how many there are. Raises FailedTests where one failed, or where
    there is none.
    """
    counts: Counter[str] = Counter()
    failed: list[str] = []
    with subprocess.Popen(
        _command(folder), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            last = ""
            for line in process.stdout:
                last = line.strip() or last
                if all_of_them := COLLECTED.search(line):
                    work.note(f"there are {all_of_them[1] or all_of_them[2]} in all")
                result = RESULT.search(line)
                test = TEST.search(line)
                if result and test and not line.startswith(("FAILED", "ERROR", "SKIPPED")):
                    counts[result[1]] += 1
                    failed += [test[0]] if result[1] in ("FAILED", "ERROR") else []
                    work.replace([_row(counts)])
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if failed:
        for name in failed:
            work.note(f"failed: {name}")
        raise FailedTests(f"{len(failed)} of {counts.total()}, the first one {failed[0]}")
    if process.returncode or not counts:
        raise FailedTests(f"pytest ended with {process.returncode}: {last}")


def _command(folder: Path) -> list[str]:
    """pytest, a line a test; in several processes where it can. Raises FailedTests where there is no file of tests."""
    files = sorted(folder.glob("test_*.py"), key=lambda file: file.stat().st_size)
    if not files:  # pytest would take every test of the repository
        raise FailedTests(f"there is no test in {folder}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(MOST_PROCESSES, cores // 2)
    parallel = ["-n", str(processes)] if processes > 1 and find_spec("xdist") else []
    plain = ["-v", "--no-header", "--color=no", "--tb=line", "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", *plain, *parallel, *map(str, files)]


def _row(counts: Counter[str]) -> dict[str, int]:
    return {
        "passed": counts["PASSED"] + counts["XPASS"],
        "failed": counts["FAILED"] + counts["ERROR"],
        "skipped": counts["SKIPPED"] + counts["XFAIL"],
    }
