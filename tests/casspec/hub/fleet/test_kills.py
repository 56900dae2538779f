"""Whatever is killed, every job ends, no measured row is lost or doubled, and nothing runs twice at once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from casspec.hub.client import HubClient
from casspec.hub.working.worker import JobStages, Worker
from casspec.storage import open_repository
from casspec.storage.errors import HubError, StorageError
from casspec.storage.jobs.documents import Job, JobRequest
from casspec.storage.jobs.queue import Place
from casspec.storage.repository import Repository
from tests.casspec.hub.fleet.machines import ROOT, Machines, free_port, machines
from tests.casspec.hub.fleet.stubs import MARKS, check, marks_in, stub
from tests.storage.postgres import PostgresCluster, postgres_cluster, postgres_programs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'casspec[fleet]'"),
]

KINDS = ("left", "right")
LONGEST_S = 600


class Fleet:
    """A hub with its placer, a Ray cluster and a store, with jobs that are stubs."""

    def __init__(self, storage: str, marks: Path, cluster: Machines, database: PostgresCluster | None = None) -> None:
        self._storage, self._marks, self._cluster, self._database = storage, marks, cluster, database
        self._port = free_port()
        self._hub: subprocess.Popen[bytes] | None = None
        self.kills: dict[str, Callable[[], None]] = {
            "hub": self._kill_hub,
            "placer": self._kill_placer,
            "worker": self._kill_worker,
            "node": self._kill_node,
            "head": self._kill_head,
        } | ({} if database is None else {"database": self._restart_database})
        self.chosen = random.Random(11)

    @contextmanager
    def hub(self) -> Iterator[HubClient]:
        self._start_hub()
        try:
            yield HubClient(f"http://127.0.0.1:{self._port}")
        finally:
            assert self._hub is not None
            self._hub.terminate()
            self._hub.wait(60)

    def until(self, is_so: Callable[[], bool]) -> None:
        """Waits, and fails after LONGEST_S."""
        end_s = time.monotonic() + LONGEST_S
        while time.monotonic() < end_s:
            with suppress(HubError, StorageError):
                if is_so():
                    return
            time.sleep(0.05)
        raise AssertionError(f"never came about; the last marks are {marks_in(self._marks)[-5:]}")

    def until_marked(self, n: int) -> None:
        """Waits for so many more marks."""
        before = len(marks_in(self._marks))
        self.until(lambda: len(marks_in(self._marks)) >= before + n)

    def _start_hub(self) -> None:
        command = [sys.executable, "-m", "tests.casspec.hub.fleet.stub_hub", self._storage, self._cluster.address]
        environment = self._cluster.environment
        self._hub = subprocess.Popen([*command, str(self._port)], cwd=ROOT, env=environment)

    def _kill_hub(self) -> None:
        assert self._hub is not None
        self._hub.kill()
        self._hub.wait()
        self._start_hub()

    def _kill_placer(self) -> None:
        assert self._hub is not None
        for child in psutil.Process(self._hub.pid).children():
            with suppress(psutil.NoSuchProcess):
                child.kill()

    def _kill_worker(self) -> None:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(marks_in(self._marks)[-1].pid).kill()

    def _kill_node(self) -> None:
        self._cluster.restart_node(self.chosen.choice(KINDS))

    def _kill_head(self) -> None:
        self._cluster.kill_head()
        self._cluster.start()

    def _restart_database(self) -> None:
        assert self._database is not None
        self._database.stop()
        self._database.start()


def run(storage: str, marks: Path, n_kills: int, n_jobs: int, database: PostgresCluster | None = None) -> None:
    """Submits jobs, kills one part after the other at random moments, each kind of part as often, and looks at what is left."""
    with ExitStack() as stack:
        cluster = stack.enter_context(machines(KINDS, {MARKS: str(marks)}))
        fleet = Fleet(storage, marks, cluster, database)
        hub = stack.enter_context(fleet.hub())
        repository = stack.enter_context(open_repository(storage))
        asked = [JobRequest(model="reference", device=KINDS[n % 2]) for n in range(n_jobs)]
        jobs = [repository.jobs.submit(one).job_id for one in asked]
        kills = [list(fleet.kills)[n % len(fleet.kills)] for n in range(n_kills)]
        fleet.chosen.shuffle(kills)
        for kill in kills:
            fleet.until_marked(fleet.chosen.randint(3, 18))
            print(f"{time.monotonic():.1f} {len(marks_in(marks))} marks, kill the {kill}", flush=True)
            fleet.kills[kill]()
        fleet.until(lambda: all(job.has_ended for job in map(hub.job, jobs)))
        check(repository, jobs, marks_in(marks))
        assert all(repository.jobs.log(job_id).lines for job_id in jobs)


@pytest.mark.timeout(900)
def test_five_kills_lose_nothing(tmp_path: Path) -> None:
    run(str(tmp_path / "casspec.db"), tmp_path / "marks", n_kills=5, n_jobs=5)


@pytest.mark.fleet
@pytest.mark.timeout(3600)
def test_thirty_kills_lose_nothing(tmp_path: Path) -> None:
    programs = postgres_programs()
    if programs is None:
        run(str(tmp_path / "casspec.db"), tmp_path / "marks", n_kills=30, n_jobs=30)
        return
    with postgres_cluster(programs) as database:
        run(database.new_database(), tmp_path / "marks", n_kills=30, n_jobs=30, database=database)


@pytest.mark.timeout(300)
def test_postgresql_that_restarts_during_a_job_costs_an_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (no initdb)")
    marks = tmp_path / "marks"
    monkeypatch.setenv(MARKS, str(marks))
    with postgres_cluster(programs) as database, open_repository(database.new_database()) as repository:
        job_id = repository.jobs.submit(JobRequest(model="reference", device="cpu")).job_id
        cuts, measure = [database.stop], stub("cpu")

        def cut_once(repository: Repository, job: Job, stages: JobStages) -> str:
            for cut in cuts:
                cut()
            return measure(repository, job, stages)

        def until_it_is_back(seconds: float) -> None:
            cuts.clear()
            database.start()

        worker = Worker(repository, Place("cpu", "here/cpu"), cut_once, pause=until_it_is_back)
        worker.work(lambda: not repository.jobs.get(job_id).has_ended)
        check(repository, [job_id], marks_in(marks))
        assert repository.jobs.get(job_id).attempts == 2
