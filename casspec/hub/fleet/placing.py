"""A placer that goes on: Ray and the store may be away, and are asked again, each absence told once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

from casspec.hub.fleet.documents import HostSettings
from casspec.hub.fleet.placer import Cluster, Placer
from casspec.storage.errors import FleetError, StorageError
from casspec.storage.repository import Repository

POLL_S = 1.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
"""Between attempts to reach a cluster; twice as long each time."""


def place_jobs(
    repository: Repository,
    connected: Callable[[], AbstractContextManager[Cluster]],
    host: HostSettings,
    say: Callable[[str], None],
    wait: Callable[[float], bool],
) -> None:
    """Places jobs until `wait` says True, called with how many seconds to wait.

    Args:
        connected: a cluster that is reached inside a block; raises FleetError. say: tells the operator, in a line.

    Raises KeyboardInterrupt, after what was placed was handed back.
    """
    wait_s = FIRST_WAIT_S
    while True:
        try:
            with connected() as cluster:
                wait_s = FIRST_WAIT_S
                if _place(Placer(repository.jobs, cluster, host, say), say, wait):
                    return
        except FleetError as error:
            say(f"{error}; tried again in {wait_s:g} s")
        if wait(wait_s):
            return
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)


def _place(placer: Placer, say: Callable[[str], None], wait: Callable[[float], bool]) -> bool:
    """Steps until `wait` says True. Raises FleetError where the cluster is lost."""
    told = ""
    try:
        while True:
            try:
                placer.step()
                told = ""
            except StorageError as error:
                if str(error) != told:
                    say(str(error))
                told = str(error)
            if wait(POLL_S):
                break
    except KeyboardInterrupt:
        with suppress(FleetError):
            placer.end()
        raise
    placer.end()
    return True
