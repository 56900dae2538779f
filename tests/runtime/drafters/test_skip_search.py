"""The search for a skip set: what it proposes, what it makes of scores, when it ends."""

from __future__ import annotations

import numpy as np

from casspec.runtime.drafters.skip_search import SkipSearch, skip_set_of, upper_bounds
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import SkipSet

GOOD = frozenset({1, 4, 7, 8, 13})


def score(skip: SkipSet) -> float:
    """Best for the layers of GOOD, attention and MLP alike."""
    return (len(GOOD & {*skip.attention}) + len(GOOD & {*skip.mlp})) / (2 * len(GOOD))


def test_sets_leave_the_first_and_last_layer_and_have_one_size() -> None:
    search = SkipSearch(16, 0.45, gaussian_every=4)
    for _ in range(40):
        skip = search.propose()
        assert len(skip) == int(28 * 0.45)
        assert {*skip.attention, *skip.mlp} <= set(range(1, 15))
        search.record(skip, score(skip))


def test_the_gaussian_process_finds_more_than_chance() -> None:
    def best(gaussian_every: int) -> float:
        found = []
        for seed in range(5):
            search = SkipSearch(16, 0.4, gaussian_every, stop_score=2.0, seed=seed)
            while not search.over and len(found) < 60 * (seed + 1):
                skip = search.propose()
                search.record(skip, score(skip))
                found.append(score(skip))
        return float(np.mean(found))

    assert best(2) > best(10**6) + 0.05


def test_the_bound_is_the_score_where_scored_and_wide_where_not() -> None:
    tried = np.eye(6, dtype=bool)[:3]
    bounds = upper_bounds(tried, np.array([0.1, 0.9, 0.5]), np.concatenate([tried, ~tried[:1]]), optimism=1.0)
    assert bounds[1] > bounds[2] > bounds[0]
    mean, wide = (upper_bounds(tried, np.array([0.1, 0.9, 0.5]), ~tried[:1], k)[0] for k in (0.0, 1.0))
    assert wide - mean > 0.5
    near, nearer = (upper_bounds(tried, np.array([0.1, 0.9, 0.5]), tried[:1], k)[0] for k in (0.0, 1.0))
    assert nearer - near < 0.2


def test_the_search_ends_when_good_enough_when_idle_and_at_last() -> None:
    good = SkipSearch(8, stop_score=0.9)
    assert good.record(SkipSet(attention=(1,)), 0.5)
    assert not good.over
    assert good.record(SkipSet(attention=(2,)), 0.9)
    assert good.over
    assert good.best == SkipSet(attention=(2,))

    idle = SkipSearch(8, max_idle=2)
    idle.record(SkipSet(), 0.5)
    for _ in range(2):
        assert not idle.over
        assert not idle.record(SkipSet(mlp=(1,)), 0.5)
    assert idle.over

    last = SkipSearch(8, max_trials=1)
    last.record(SkipSet(), 0.1)
    assert last.over
    assert SkipSearch(2).over  # nothing may be skipped


def test_a_plans_skip_set_is_read_back() -> None:
    skip = SkipSet(attention=(1, 3), mlp=(1, 4))
    assert skip_set_of(Plan.skipping(skip, 6)) == skip
