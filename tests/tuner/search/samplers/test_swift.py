"""Random switches with a Gaussian process in turns, as SWIFT searches."""

from __future__ import annotations

from casspec.storage.schema import Precision
from casspec.tuner.search.samplers.by_name import (
    make_sampler,
    search_space,
)
from casspec.tuner.search.samplers.swift import RATIOS
from casspec.tuner.search.space import spec_of


def test_swift_leaves_out_five_shares_of_the_switches_in_turn() -> None:
    import optuna

    n_layers = 22
    space = search_space("swift", n_layers, (Precision.TARGET, Precision.INT8_DYNAMIC))
    study = optuna.create_study(
        directions=["maximize", "minimize"], sampler=make_sampler("swift", 0, space), study_name="s"
    )
    proposed = []
    for _ in range(130):  # every 25th of each share comes from its Gaussian process
        trial = study.ask(space)
        proposed.append(spec_of(trial.params))
        study.tell(trial, [1 - 0.01 * sum(proposed[-1].skip.mlp) / n_layers, 0.5])
    assert [len(spec.skip) for spec in proposed[:5]] == [int(40 * ratio) for ratio in RATIOS]
    assert {spec.precision for spec in proposed} == {Precision.TARGET}
    assert len(set(proposed)) == len(proposed)
