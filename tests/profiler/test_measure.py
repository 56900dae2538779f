"""Measuring: rounds interleaved, disturbed visits repeated, every point saved once, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from casspec.profiler.measure import BLOCK_POINTS, LONG_CALL_MS, MAX_ROUNDS, MIN_ROUNDS, Schedule, measure, missing
from casspec.profiler.timing import HostTimer
from casspec.storage.schema import LatencyPoint, LatencySample
from tests.profiler.fakes import FakeClock


def points(count: int) -> list[LatencyPoint]:
    return [
        LatencyPoint(subject="forward", n_attention=2, n_mlp=2, n_tokens=1 + index, context_tokens=0)
        for index in range(count)
    ]


class Bench:
    """Measures with a fake clock: a point of n tokens takes n milliseconds, times what `slowdown` says of that call."""

    def __init__(self, slowdown: Callable[[LatencyPoint, int], float] = lambda point, call: 1.0) -> None:
        self.clock = FakeClock()
        self.calls: list[LatencyPoint] = []
        self.saved: list[LatencySample] = []
        self.progress: list[tuple[int, int]] = []
        self._slowdown = slowdown

    def call_for(self, point: LatencyPoint) -> Callable[[], None]:
        def milliseconds() -> float:
            self.calls.append(point)
            return point.n_tokens * self._slowdown(point, self.calls.count(point))

        return self.clock.taking(milliseconds)

    def run(self, todo: list[LatencyPoint], budget_seconds: float = 0.0, seed: int = 0) -> list[LatencySample]:
        return measure(
            todo,
            self.call_for,
            HostTimer(self.clock),
            Schedule(budget_seconds, seed),
            self.saved.append,
            lambda done, total, note: self.progress.append((done, total)),
        )


def test_every_point_is_saved_once_with_its_raw_values() -> None:
    bench = Bench()
    samples = bench.run(points(40))
    assert bench.saved == samples
    assert sorted(sample.point.n_tokens for sample in samples) == list(range(1, 41))
    assert [sample.order for sample in samples] == list(range(40))
    for sample in samples:
        assert sample.measurement.n == MIN_ROUNDS
        assert sample.measurement.values == pytest.approx((sample.point.n_tokens,) * sample.measurement.n)


def test_progress_ends_at_the_number_of_points() -> None:
    bench = Bench()
    bench.run(points(BLOCK_POINTS + 1))
    assert bench.progress == [(BLOCK_POINTS, BLOCK_POINTS + 1), (BLOCK_POINTS + 1, BLOCK_POINTS + 1)]


def test_a_long_call_is_timed_as_it_comes_and_a_short_one_after_another() -> None:
    bench, (short, long) = Bench(), points(int(LONG_CALL_MS) + 1)[-3::2]
    samples = bench.run([short, long])
    assert [bench.calls.count(point) for point in (short, long)] == [2 * MIN_ROUNDS, MIN_ROUNDS]
    assert {sample.point: sample.measurement.n for sample in samples} == {short: MIN_ROUNDS, long: MIN_ROUNDS}


def test_a_round_visits_every_point_before_any_is_visited_again() -> None:
    bench = Bench()
    bench.run(points(6))
    visits = bench.calls[1::2]  # of two calls the second is timed
    rounds = [visits[start : start + 6] for start in range(0, len(visits), 6)]
    assert [set(visited) for visited in rounds] == [set(points(6))] * MIN_ROUNDS
    assert len({tuple(visited) for visited in rounds}) > 1


def test_more_time_gives_more_rounds_up_to_a_limit() -> None:
    assert Bench().run(points(3), budget_seconds=1e6)[0].measurement.n == MAX_ROUNDS


def test_the_budget_bounds_the_time_when_it_allows_for_the_fewest_rounds() -> None:
    bench = Bench()
    bench.run(points(64), budget_seconds=60.0)
    assert 50.0 < bench.clock.seconds < 70.0


def test_a_disturbed_visit_is_repeated() -> None:
    of_second_visit = (4, 5)
    samples = Bench(lambda point, call: 30.0 if call in of_second_visit else 1.0).run(points(3))
    for sample in samples:
        assert max(sample.measurement.values) == pytest.approx(sample.point.n_tokens)


def test_a_point_that_stays_slow_is_believed() -> None:
    samples = Bench(lambda point, call: 30.0 if call > 3 else 1.0).run(points(1))
    assert max(samples[0].measurement.values) == pytest.approx(30.0)


def test_an_interrupted_run_keeps_finished_points_and_a_resumed_one_measures_the_rest() -> None:
    todo = points(3 * BLOCK_POINTS)
    bench = Bench()

    def save_until_stopped(sample: LatencySample) -> None:
        if len(bench.saved) == BLOCK_POINTS + 5:
            raise KeyboardInterrupt
        bench.saved.append(sample)

    with pytest.raises(KeyboardInterrupt):
        measure(todo, bench.call_for, HostTimer(bench.clock), Schedule(0.0), save_until_stopped, lambda *_: None)

    resumed = Bench()
    resumed.run(missing(todo, bench.saved))
    stored = [sample.point for sample in bench.saved]
    assert set(resumed.calls).isdisjoint(stored)
    assert sorted(p.n_tokens for p in stored + [s.point for s in resumed.saved]) == [p.n_tokens for p in todo]
