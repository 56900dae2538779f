"""Ctrl-C while a text is decoded."""

from __future__ import annotations

import os
import signal

import pytest

from casspec.cli.interrupt import interruptible


def test_the_first_ctrl_c_asks_and_the_second_ends() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as interruption:
        assert not interruption(None, None)
        os.kill(os.getpid(), signal.SIGINT)
        assert interruption(None, None)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
