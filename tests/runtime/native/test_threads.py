"""A native function runs in a team of as many threads as asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import carray, cfunc, types

from casspec.runtime.native import threads
from casspec.runtime.native.table import MEETING_BYTES
from casspec.runtime.native.threads import meet

MOST, ROUNDS = 4, 500


@pytest.fixture(scope="module")
def roll_call() -> Any:
    """A C function in which the threads of a team count and meet, round after round."""
    assert threads.library() is not None
    number = types.ExternalFunction("omp_get_thread_num", types.int32())
    team = types.ExternalFunction("omp_get_num_threads", types.int32())

    @cfunc(types.void(types.voidptr))
    def run(place):
        table = carray(place, (3, MOST), np.int64)
        thread, n_threads = number(), np.int64(team())
        for _ in range(ROUNDS):
            table[0, thread] += 1
            meet(table[2, 0], n_threads)
            table[1, thread] += table[0].sum()
            meet(table[2, 0], n_threads)

    return run


@pytest.mark.parametrize("count", [1, 2, 3, MOST])
def test_every_thread_of_the_team_runs_it_once(roll_call: Any, count: int) -> None:
    table, place = np.zeros((3, MOST), np.int64), np.zeros(MEETING_BYTES, np.uint8)
    table[2] = place.ctypes.data
    for runs in (1, 2):
        threads.runner()(roll_call.address, table.ctypes.data, count)
        assert table[0].tolist() == [runs * ROUNDS] * count + [0] * (MOST - count)
    seen = count * 2 * ROUNDS * (2 * ROUNDS + 1) // 2
    assert table[1].tolist() == [seen] * count + [0] * (MOST - count), "each round all of them meet twice"
