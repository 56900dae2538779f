"""A stub for calibrations: it measures rows that are stored, goes on where an earlier attempt ended, and marks what it does in a file.

Marks are whole lines, appended at once: kind, job, row, process, device, nanoseconds of the machine's clock.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from casspec.hub.fleet.documents import Placement
from casspec.hub.fleet.task import execute
from casspec.hub.working.worker import JobStages, Run
from casspec.storage.jobs.documents import Job
from casspec.storage.repository import Repository
from tests.storage import samples

MARKS = "CASSPEC_TEST_MARKS"
"""Variable that names the file."""

N_ROWS = 10
ROW_S = 0.1
PAUSE_S = 2.0
"""Of the placer here, in place of its usual one: jobs take about as long."""

KIND = "stub-row"


@dataclass(frozen=True)
class Mark:
    kind: str
    job_id: str
    row: int
    pid: int
    device: str
    at_ns: int


def run_stub(document: str) -> str:
    """What Ray places in the place of calibrations."""
    return execute(document, stub_of)


def shout(document: str) -> str:
    return document.upper()


def stub_of(placement: Placement, storage: str) -> Run:
    return stub(placement.kind)


def stub(device: str) -> Run:
    """Measures the rows of a job, a tenth of a second each."""

    def run(repository: Repository, job: Job, stages: JobStages) -> str:
        settings = {"job": job.job_id}
        calibration = repository.calibration(samples.model(), samples.device(), "float32", settings).calibration_id
        with stages.stage("measure", N_ROWS) as progress:
            for row in range(N_ROWS):
                mark("begin", job.job_id, row, device)
                if repository.get_document(calibration, KIND, str(row)) is None:
                    threading.Event().wait(ROW_S)
                    repository.put_document(calibration, KIND, str(row), {"row": row})
                    mark("saved", job.job_id, row, device)
                progress(row + 1)
        mark("end", job.job_id, N_ROWS, device)
        return "a" * 64

    return run


def mark(kind: str, job_id: str, row: int, device: str) -> None:
    line = f"{kind} {job_id} {row} {os.getpid()} {device} {time.monotonic_ns()}\n"
    descriptor = os.open(os.environ[MARKS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def marks_in(file: Path) -> list[Mark]:
    found = []
    for line in file.read_text().splitlines() if file.exists() else []:
        kind, job_id, row, pid, device, at_ns = line.split()
        found.append(Mark(kind, job_id, int(row), int(pid), device, int(at_ns)))
    return found


def check(repository: Repository, job_ids: Iterable[str], marks: list[Mark]) -> None:
    """Every job is done, no row is lost or was measured again once it was stored, no job and no device had two workers at once."""
    for job_id in job_ids:
        job = repository.jobs.get(job_id)
        assert (job.status, job.message) == ("done", None)
        settings = {"job": job_id}
        calibration = repository.calibration(samples.model(), samples.device(), "float32", settings).calibration_id
        assert set(repository.documents(calibration, KIND)) == {str(row) for row in range(N_ROWS)}
        saved = [each.row for each in marks if each.kind == "saved" and each.job_id == job_id]
        assert len(saved) == len(set(saved))
    assert overlapping(marks, lambda each: each.job_id) == []
    assert overlapping(marks, lambda each: each.device) == []


def overlapping(marks: list[Mark], key: Callable[[Mark], str]) -> list[tuple[str, int, int]]:
    """Processes that were at the same thing at once: thing, and both."""
    times: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    for each in marks:
        times[key(each)][each.pid].append(each.at_ns)
    found = []
    for thing, processes in times.items():
        spans = sorted((min(at), max(at), pid) for pid, at in processes.items())
        found += [(thing, one[2], other[2]) for one, other in pairwise(spans) if other[0] < one[1]]
    return found


def main(storage: str, address: str) -> None:
    """A placer of stubs, as `casspec worker --ray` is one of calibrations."""
    from casspec.hub.fleet import placer
    from casspec.hub.fleet.cluster import connected
    from casspec.hub.fleet.documents import HostSettings, crossing
    from casspec.hub.fleet.placing import place_jobs
    from casspec.hub.fleet.silence import only_own_lines
    from casspec.storage import open_repository
    from casspec.tuner.search.workers.processes import end_with_parent

    end_with_parent()
    placer.PAUSE_S = PAUSE_S
    with open_repository(storage) as repository, only_own_lines() as say:
        host = HostSettings(storage=crossing(storage))
        with suppress(KeyboardInterrupt):
            place_jobs(repository, lambda: connected(address, run_stub), host, say, threading.Event().wait)


if __name__ == "__main__":
    from tests.casspec.hub.fleet import stubs

    stubs.main(*sys.argv[1:])
