"""A native function runs in a team of as many threads as asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import carray, cfunc, types

from casspec.runtime.native import threads

MOST = 4


@pytest.fixture(scope="module")
def roll_call() -> Any:
    """A C function in which each thread of a team notes its number and the team's size."""
    assert threads.library() is not None
    number = types.ExternalFunction("omp_get_thread_num", types.int32())
    team = types.ExternalFunction("omp_get_num_threads", types.int32())
    barrier = types.ExternalFunction("GOMP_barrier", types.void())

    @cfunc(types.void(types.voidptr))
    def run(place):
        table = carray(place, (2, MOST), np.int64)
        table[0, number()] += 1
        barrier()
        table[1, number()] = table[0].sum() * 10 + team()

    return run


@pytest.mark.parametrize("count", [1, 2, 3, MOST])
def test_every_thread_of_the_team_runs_it_once(roll_call: Any, count: int) -> None:
    table = np.zeros((2, MOST), np.int64)
    threads.runner()(roll_call.address, table.ctypes.data, count)
    assert table[0].tolist() == [1] * count + [0] * (MOST - count)
    assert table[1].tolist() == [count * 11] * count + [0] * (MOST - count), "a barrier waits for all of them"
