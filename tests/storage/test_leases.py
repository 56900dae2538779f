"""Leases end with their holder, and whoever lost one cannot write under it."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from casspec.storage import open_repository
from casspec.storage.database.connection import Database
from casspec.storage.errors import LeaseLost, StorageError
from casspec.storage.leases import Lease, Leases, check
from casspec.storage.repository import Repository
from tests.storage import samples

EXPIRY_S = 15.0
KIND, KEY = "trial", "calibration/plan"


@dataclass
class FakeClock:
    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def leases(database: Database, clock: FakeClock) -> Leases:
    return Leases(database, clock)


def taken(leases: Leases, owner: str, key: str = KEY) -> Lease:
    lease = leases.acquire(KIND, key, owner, EXPIRY_S)
    assert lease is not None
    return lease


def start(repository: Repository) -> str:
    return repository.calibration(samples.model(), samples.device(), "float32", samples.SETTINGS).calibration_id


def test_a_resource_has_one_holder_until_it_is_released(leases: Leases) -> None:
    lease = taken(leases, "one")
    assert (lease.owner, lease.fencing) == ("one", 1)
    assert leases.acquire(KIND, KEY, "other", EXPIRY_S) is None
    assert leases.acquire(KIND, KEY, "one", EXPIRY_S) is None
    assert leases.acquire("job", KEY, "other", EXPIRY_S) is not None  # another resource
    leases.release(lease)
    assert not leases.is_current(lease)
    assert taken(leases, "other").fencing == 2


def test_a_silent_heart_is_taken_over_and_a_beating_one_is_not(leases: Leases, clock: FakeClock) -> None:
    lease = taken(leases, "one")
    clock.seconds += EXPIRY_S
    assert leases.acquire(KIND, KEY, "other", EXPIRY_S) is None
    renewed = leases.renew(lease)
    assert (renewed.taken_at, renewed.heartbeat_at) == (lease.taken_at, lease.taken_at + EXPIRY_S)
    clock.seconds += EXPIRY_S + 1
    assert leases.is_current(lease)  # silent, but nobody else's yet
    assert taken(leases, "other").fencing == lease.fencing + 1
    assert not leases.is_current(lease)


def test_who_lost_a_lease_can_neither_renew_nor_release_what_another_holds(leases: Leases, clock: FakeClock) -> None:
    lost = taken(leases, "one")
    clock.seconds += EXPIRY_S + 1
    heir = taken(leases, "other")
    with pytest.raises(
        LeaseLost, match="number 1 of one on trial calibration/plan is lost, it is number 2 of other"
    ) as told:
        leases.renew(lost)
    assert "\n" not in str(told.value)
    assert isinstance(told.value, StorageError)
    leases.release(lost)
    assert leases.is_current(heir)


def test_the_same_owner_that_takes_a_resource_again_has_a_new_number(leases: Leases, clock: FakeClock) -> None:
    first = taken(leases, "one")
    clock.seconds += EXPIRY_S + 1
    second = taken(leases, "one")
    assert not leases.is_current(first)
    assert leases.is_current(second)


def test_the_living_are_told_and_the_dead_released(leases: Leases, clock: FakeClock) -> None:
    silent = taken(leases, "silent", "c/1")
    clock.seconds += EXPIRY_S + 1
    living, dead = taken(leases, "living", "c/2"), taken(leases, "dead", "c/3")
    elsewhere = taken(leases, "dead", "d/4")
    assert leases.living(KIND, "c/", EXPIRY_S, lambda owner: owner == "dead") == [living]
    assert [leases.is_current(lease) for lease in (silent, living, dead, elsewhere)] == [False, True, False, True]


@pytest.mark.parametrize("taken_over", [False, True])
def test_a_write_under_a_lost_lease_writes_nothing(
    repository: Repository, leases: Leases, clock: FakeClock, taken_over: bool
) -> None:
    calibration_id, lease = start(repository), taken(leases, "one")
    first, second = samples.candidate(layers=(1,)), samples.candidate(layers=(2,))
    assert repository.save_candidate(calibration_id, first, lease) == first
    if taken_over:
        clock.seconds += EXPIRY_S + 1
        assert (
            repository.save_candidate(calibration_id, taken_later := samples.candidate(layers=(3,)), lease)
            == taken_later
        )
        heir = taken(leases, "other")
        assert repository.save_candidate(calibration_id, samples.candidate(layers=(4,)), heir)
    else:
        leases.release(lease)
    before = repository.candidates(calibration_id)
    with pytest.raises(LeaseLost, match="nothing was written"):
        repository.save_candidate(calibration_id, second, lease)
    assert repository.candidates(calibration_id) == before


def test_a_lease_of_nothing_ever_taken_is_lost(database: Database) -> None:
    with pytest.raises(LeaseLost), database.writing() as session:
        check(session, Lease(KIND, KEY, "one", 1, 0.0, 0.0))


def test_the_clock_is_the_database_s(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    leases, here = Leases(database), time.time()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    lease = taken(leases, "one")
    assert abs(lease.taken_at - here) < 60
    assert leases.renew(lease).heartbeat_at >= lease.heartbeat_at
    assert leases.acquire(KIND, KEY, "other", EXPIRY_S) is None
    assert leases.acquire(KIND, KEY, "other", -1.0) is not None


def test_leases_of_a_calibration_are_deleted_with_it(repository: Repository, leases: Leases) -> None:
    calibration_id = start(repository)
    repository.save_profile(calibration_id, samples.profile())
    own, other = taken(leases, "one", f"{calibration_id}/plan"), taken(leases, "one", f"{calibration_id}0/plan")
    repository.delete_profile("latest")
    assert [leases.is_current(lease) for lease in (own, other)] == [False, True]


def test_what_is_leased_alone_is_kept_with_the_block_or_not_at_all(repository: Repository) -> None:
    def interrupted() -> None:
        with repository.alone():
            taken(repository.leases, "one")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with repository.alone():
        lease = taken(repository.leases, "two")
        assert lease.fencing == 1
        with pytest.raises(LeaseLost):
            repository.leases.renew(Lease(KIND, KEY, "one", 1, 0.0, 0.0))  # fails alone, not with the block
    assert repository.leases.is_current(lease)


def take_turns(storage: str, worker: int, results: Callable) -> None:
    with open_repository(storage) as repository:
        won = [n for n in range(20) if repository.leases.acquire(KIND, f"c/{n}", str(worker), EXPIRY_S)]
    results.put(won)  # type: ignore[attr-defined]


def test_processes_that_want_the_same_resources_get_each_once(storage: str) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    workers = [context.Process(target=take_turns, args=(storage, n, results)) for n in range(3)]
    for worker in workers:
        worker.start()
    won = [results.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join(timeout=60)
    assert sorted(n for each in won for n in each) == list(range(20))


def test_a_take_over_waits_for_a_guarded_write_under_way(database: Database, storage: str, leases: Leases) -> None:
    """Between the check and the end of its transaction nobody else becomes the holder."""
    lease = taken(leases, "one")
    program = (
        "import sys; from casspec.storage import open_repository\n"
        "with open_repository(sys.argv[1]) as repository:\n"
        "    print('up', flush=True)\n"
        f"    print(repository.leases.acquire({KIND!r}, {KEY!r}, 'other', -1.0).fencing, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, storage], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        with database.writing() as session:
            check(session, lease)
            assert other.stdout.readline() == "up\n"
            with pytest.raises(subprocess.TimeoutExpired):
                other.wait(timeout=0.5)
        assert other.stdout.readline() == "2\n"
    assert not leases.is_current(lease)
