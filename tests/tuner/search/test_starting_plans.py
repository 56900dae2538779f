"""Plans that a search begins with."""

from __future__ import annotations

from casspec.tuner.search.starting_plans import leave_one_out, prefix_sweep, thinned_leave_one_out, uniform


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


def test_single_sub_layers_that_are_cut_off_anywhere_are_spread_over_all_layers_and_both_kinds() -> None:
    singles = thinned_leave_one_out(30, 56)
    assert sorted(singles, key=repr) == sorted(leave_one_out(30), key=repr)
    for end in (8, 14, 28):
        some = singles[:end]
        layers = sorted({layer for skip in some for layer in (*skip.attention, *skip.mlp)})
        assert len(layers) == end // 2, "attention and MLP of each"
        gaps = [b - a for a, b in zip([0, *layers], [*layers, 29], strict=True)]
        assert max(gaps) <= 2 * 29 / len(layers)
