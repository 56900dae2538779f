from __future__ import annotations

import os
import subprocess
import sys

import pytest

from casspec.storage.holders import holder_name, is_dead


def test_a_process_has_another_name_each_time_and_lives() -> None:
    one, other = holder_name(), holder_name()
    assert one != other
    assert f":{os.getpid()}:" in one
    assert not is_dead(one)


def test_a_process_that_ended_is_known_to_be_dead() -> None:
    program = "from casspec.storage.holders import holder_name; print(holder_name())"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert is_dead(ended.stdout.strip())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of processes that ended and were not waited for")
def test_a_process_that_ended_and_that_nobody_waited_for_is_dead_too() -> None:
    program = "from casspec.storage.holders import holder_name; print(holder_name())"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as ended:
        assert ended.stdout is not None
        name = ended.stdout.read().strip()
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        assert is_dead(name)


@pytest.mark.parametrize("holder", ["elsewhere:1:0123", "one", "a:b", "::", ""])
def test_of_others_nothing_is_known(holder: str) -> None:
    assert not is_dead(holder)
