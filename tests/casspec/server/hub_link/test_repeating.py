"""What is done now and then goes on whatever becomes of it, and says so once."""

from __future__ import annotations

import logging
import threading

import pytest

from casspec.server.hub_link.repeating import LONGEST_WAIT_S, Repeating
from casspec.storage.errors import HubUnreachable


def test_failures_are_one_line_and_waits_between_them_double(caplog: pytest.LogCaptureFixture) -> None:
    faults: list[Exception | None] = [HubUnreachable("the hub\nis away")] * 9 + [None, ZeroDivisionError("0"), None]

    def act() -> None:
        fault = faults.pop(0)
        if fault is not None:
            raise fault

    repeating = Repeating("reports to the hub", act, 60.0)
    with caplog.at_level(logging.WARNING, "casspec"):
        waits = [repeating.once() for _ in range(10)]
    assert waits == [120.0, 240.0, 480.0, *[LONGEST_WAIT_S] * 6, 60.0]
    assert caplog.messages == [
        "reports to the hub: the hub is away; it is tried again",
        "reports to the hub: it works again",
    ]
    assert (repeating.once(), repeating.once()) == (120.0, 60.0)
    assert "reports to the hub failed, and is tried again" in caplog.messages


def test_it_is_done_on_a_thread_of_its_own_until_it_is_stopped() -> None:
    done, threads = threading.Semaphore(0), set[str]()

    def act() -> None:
        threads.add(threading.current_thread().name)
        done.release()

    repeating = Repeating("polls of the hub", act, 0.001)
    repeating.start()
    for _ in range(3):
        assert done.acquire(timeout=30)
    repeating.stop()
    assert threads == {"casspec-polls"}
    assert not repeating._thread.is_alive()
    Repeating("never begun", act, 1.0).stop()
