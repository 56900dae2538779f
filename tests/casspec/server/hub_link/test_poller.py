"""Another profile is taken once; one that cannot be used is not tried again."""

from __future__ import annotations

import pytest

from casspec.server.errors import ApiError
from casspec.server.hub_link.poller import Poller

OLD, NEW = "a" * 64, "b" * 64


class Server:
    """Has a profile, and takes those of a hub."""

    def __init__(self, error: ApiError | None = None) -> None:
        self.newest, self.served, self.takes, self.error = OLD, OLD[:12], 0, error
        self.poller = Poller(lambda: self.newest, lambda: self.served, self.take)

    def take(self) -> None:
        self.takes += 1
        if self.error is not None:
            raise self.error
        self.served = self.newest[:12]


def test_another_profile_is_taken_once() -> None:
    server = Server()
    server.poller.poll()
    assert server.takes == 0
    server.newest = NEW
    server.poller.poll()
    server.poller.poll()
    assert (server.takes, server.served) == (1, NEW[:12])


@pytest.mark.parametrize(("code", "takes"), [("reload_failed", 1), ("reload_under_way", 3), ("server_draining", 3)])
def test_one_that_cannot_be_used_is_not_tried_again_until_there_is_another(code: str, takes: int) -> None:
    server = Server(ApiError(409, "no", code=code))
    server.newest = NEW
    for _ in range(3):
        server.poller.poll()
    assert server.takes == takes
    server.newest, server.error = "c" * 64, None
    server.poller.poll()
    assert server.served == "c" * 12
