"""Work that does not end by itself, and others who count on the same timer."""

from __future__ import annotations

import signal

import pytest

from benchmarks.gpu.alarm import OutOfTime, at_most


def endless() -> None:
    while True:
        pass


def catching() -> None:
    """Catches every error, as libraries do."""
    try:
        endless()
    except Exception:
        pytest.fail("taken for an error")


def test_an_endless_loop_is_ended() -> None:
    with pytest.raises(OutOfTime), at_most(0.02):
        endless()


def test_whoever_catches_every_error_does_not_catch_the_end() -> None:
    with pytest.raises(OutOfTime), at_most(0.02):
        catching()


def test_others_get_their_timer_and_handler_back() -> None:
    outer = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    before = signal.setitimer(signal.ITIMER_REAL, 100)
    try:
        with at_most(50):
            pass
        assert 90 < signal.getitimer(signal.ITIMER_REAL)[0] <= 100
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, outer)
