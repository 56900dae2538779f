"""Plans that a search begins with."""

from __future__ import annotations

from casspec.tuner.search.starting_plans import leave_one_out, prefix_sweep, uniform


def test_uniform_plans_include_every_second_inner_layer() -> None:
    every_second = [skip for skip in uniform(12) if len(skip) == 10]
    assert [b - a for a, b in zip(every_second[0].mlp, every_second[0].mlp[1:], strict=False)] == [2, 2, 2, 2]
    assert all(0 < layer < 11 for skip in uniform(12) for layer in skip.attention)


def test_prefixes_grow_and_leave_something_to_run() -> None:
    ranking = leave_one_out(12)
    sizes = [len(skip) for skip in prefix_sweep(ranking)]
    assert sizes == sorted(set(sizes))
    assert sizes[0] == 2
    assert sizes[-1] == 15
    assert prefix_sweep(ranking[:1]) == []
