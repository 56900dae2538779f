"""Work that does not end by itself, and others who count on the same timer."""

from __future__ import annotations

import signal

import pytest

from benchmarks.gpu import alarm
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


def test_an_end_that_was_lost_in_a_finaliser_comes_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Slow:
        def __del__(self) -> None:
            endless()

    def loses() -> None:
        Slow()
        endless()

    monkeypatch.setattr(alarm, "AGAIN_S", 0.02)
    with pytest.raises(OutOfTime), at_most(0.02):
        loses()
    assert capsys.readouterr().err == ""
