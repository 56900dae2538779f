"""What engines were measured at, kept once and found again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from casspec.storage.database.connection import Database
from casspec.storage.engines.documents import EngineMeasurement, EngineTrial
from casspec.storage.engines.store import EXPIRY_S, LEASE, EngineStore
from casspec.storage.errors import EngineError, ResultNotFound
from casspec.storage.leases import Leases
from tests.storage.engines.test_documents import NGRAM, measurement, result, subject


def trial(status: str = "predicted", concurrency: int = 1, speed: float | None = 50.0) -> EngineTrial:
    return EngineTrial.model_validate(
        {
            "setting": NGRAM,
            "concurrency": concurrency,
            "status": status,
            "predicted_tokens_per_second": speed,
            "reason": None,
        }
    )


def test_what_was_saved_first_under_a_key_stays(database: Database) -> None:
    store = EngineStore(database)
    search = store.begin(subject())
    assert store.begin(subject(suite="renamed")) == search
    first = store.save(search, "confirm", "a", measurement())
    assert store.save(search, "confirm", "a", measurement(seconds=9.0)) == first
    store.save(search, "confirm", "b", measurement(seconds=5.0))
    store.save(search, "plain", "a", measurement(seconds=7.0))
    found = store.saved(search, "confirm", EngineMeasurement)
    assert {key: each.seconds for key, each in found.items()} == {"a": 4.0, "b": 5.0}
    assert store.saved(store.begin(subject(seed=1)), "confirm", EngineMeasurement) == {}


def test_a_failure_replaces_a_prediction_and_not_the_other_way_round(database: Database) -> None:
    store = EngineStore(database)
    search = store.begin(subject())
    store.save_trials(search, [trial(), trial(concurrency=4, speed=70.0)])
    store.save_trials(search, [trial(speed=10.0)])
    assert [each.predicted_tokens_per_second for each in store.trials(search)] == [50.0, 70.0]
    store.save_trials(search, [trial("failed", speed=None)])
    store.save_trials(search, [trial()])
    assert [each.status for each in store.trials(search)] == ["failed", "predicted"]


def test_results_are_found_by_the_beginning_of_their_id_or_as_the_latest(database: Database) -> None:
    store = EngineStore(database)
    store.begin(subject())
    with pytest.raises(ResultNotFound, match="casspec engine tune"):
        store.result("latest")
    older, newer = result(), result(notes=("another",))
    for each in (newer, older, newer):
        store.save_result(each)
    assert store.result("latest") == newer == store.result_of(subject().content_hash())
    assert store.result(older.result_id[:8]) == older
    assert [each for _, each in store.results("vllm")] == [newer, older]
    assert store.results("sglang") == []
    for wrong in ("", "nothing"):
        with pytest.raises(ResultNotFound):
            store.result(wrong)


def test_two_processes_do_not_run_one_search(database: Database) -> None:
    store = EngineStore(database)
    search = store.begin(subject())
    with store.alone(search), pytest.raises(EngineError, match="another process"), EngineStore(database).alone(search):
        pass
    with store.alone(search):
        pass


def test_a_search_that_lasts_for_hours_stays_its_own(database: Database) -> None:
    now = [1000.0]

    def clock() -> float:
        return now[0]

    store, other = EngineStore(database, clock), EngineStore(database, clock)
    search = store.begin(subject())
    with store.alone(search, heartbeat_s=0.001):
        for _ in range(5):
            now[0] += 0.9 * EXPIRY_S
            wait_for(lambda: Leases(database).living(LEASE, search, 1e12)[0].heartbeat_at == now[0])
            with pytest.raises(EngineError, match="another process"), other.alone(search):
                pass


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline


def test_whoever_was_presumed_dead_writes_nothing_more(database: Database) -> None:
    now = [1000.0]
    store, other = EngineStore(database, lambda: now[0]), EngineStore(database, lambda: now[0])
    search = store.begin(subject())

    def comes_back() -> None:
        with store.alone(search, heartbeat_s=1e6):
            now[0] += 2 * EXPIRY_S
            with other.alone(search, heartbeat_s=1e6):
                store.save(search, "plain", "1", measurement())

    with pytest.raises(EngineError, match="took this search over"):
        comes_back()
    assert other.saved(search, "plain", EngineMeasurement) == {}


def test_whoever_died_while_searching_blocks_nobody(database: Database) -> None:
    store = EngineStore(database)
    search = store.begin(subject())
    dead = subprocess.run(
        [sys.executable, "-c", "from casspec.storage.holders import holder_name; print(holder_name())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert Leases(database).acquire(LEASE, search, dead.stdout.strip(), 3600) is not None
    with store.alone(search):
        pass


def test_a_forgotten_search_leaves_nothing(database: Database) -> None:
    store = EngineStore(database)
    search = store.begin(subject())
    store.save(search, "plain", "1", measurement())
    store.save_trials(search, [trial()])
    store.save_result(result())
    store.forget(search)
    store.forget(search)
    assert (store.results(), store.trials(search), store.saved(search, "plain", EngineMeasurement)) == ([], [], {})
