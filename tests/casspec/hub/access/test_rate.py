from __future__ import annotations

from dataclasses import dataclass

import pytest

from casspec.hub.access.rate import BURST_S, RateLimit
from casspec.server.errors import ApiError


@dataclass
class FakeClock:
    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


def drawn(limit: RateLimit, asker: str, n: int) -> int:
    """How many of so many requests are let in."""
    let_in = 0
    for _ in range(n):
        try:
            limit.draw(asker)
        except ApiError:
            continue
        let_in += 1
    return let_in


def test_a_bucket_empties_and_fills_with_time() -> None:
    clock = FakeClock()
    limit = RateLimit(2.0, clock=clock)
    assert drawn(limit, "one", 100) == 2 * BURST_S
    clock.seconds += 3.0
    assert drawn(limit, "one", 100) == 6
    clock.seconds += 1e6
    assert drawn(limit, "one", 100) == 2 * BURST_S


def test_each_has_a_bucket_of_its_own() -> None:
    limit = RateLimit(1.0, clock=FakeClock())
    drawn(limit, "one", 100)
    assert drawn(limit, "two", 1) == 1


@pytest.mark.parametrize(("per_second", "seconds"), [(100.0, "1"), (0.05, "20")])
def test_who_is_refused_hears_when_to_come_again(per_second: float, seconds: str) -> None:
    clock = FakeClock()
    limit = RateLimit(per_second, clock=clock)
    drawn(limit, "one", 2000)
    with pytest.raises(ApiError) as refusal:
        limit.draw("one")
    assert (refusal.value.status, refusal.value.headers) == (429, {"Retry-After": seconds})
    clock.seconds += float(seconds)
    limit.draw("one")


def test_memory_is_bounded_and_who_came_last_is_remembered() -> None:
    limit = RateLimit(1.0, most=3, clock=FakeClock())
    drawn(limit, "busy", 100)
    for n in range(1000):
        limit.draw(f"other {n}")
        assert drawn(limit, "busy", 1) == 0
    assert len(limit) == 3
