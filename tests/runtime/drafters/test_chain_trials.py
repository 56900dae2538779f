"""Cells and lifts learn from what is emitted, once a token, verified or not."""

from __future__ import annotations

import numpy as np

from casspec.runtime.drafters.chain_trials import (
    MOST_LIFT,
    ChainAcceptance,
    ChainTrial,
    built_in_means,
    counted,
    table_of,
)
from casspec.runtime.drafters.text_chains import N_CELLS, N_LENGTH, N_SHARE, TABLE


def test_built_in_values_rise_with_the_match_and_with_agreement() -> None:
    means = np.array(built_in_means()).reshape(2, N_LENGTH, N_SHARE)
    assert (np.diff(means, axis=1) > 0).all()
    assert (means[..., 1] > means[..., 0]).all()
    assert (means[..., 3] < means[..., 2]).all()


def test_each_emitted_token_is_a_trial_of_the_chain_until_one_is_wrong() -> None:
    acceptance = ChainAcceptance(table_of(None))
    before, trial = acceptance.log_odds.copy(), ChainTrial(acceptance)
    trial.open([5, 6, 7, 8], [0, 1, 2, 3])
    trial.score([5])
    assert trial.is_open
    trial.score([6, 9, 8])
    assert not trial.is_open
    moved = np.sign(acceptance.log_odds - before)[:4].tolist()
    assert moved == [1, 1, -1, 0]


def test_a_chain_that_came_to_its_end_is_closed() -> None:
    trial = ChainTrial(ChainAcceptance(table_of(None)))
    trial.open([5], [0])
    trial.score([5, 5])
    assert not trial.is_open
    trial.open([5], [0])
    trial.close()
    assert not trial.is_open


def test_a_text_that_is_copied_well_is_lifted_and_bounded() -> None:
    acceptance = ChainAcceptance(table_of(None))
    good, bad = ChainTrial(acceptance), ChainTrial(acceptance)
    for _ in range(500):
        good.open([1], [0])
        good.score([1])
        bad.open([1], [0])
        bad.score([2])
    assert 1 < good.lift <= MOST_LIFT
    assert -MOST_LIFT <= bad.lift < -1


def test_a_calibration_is_what_cells_start_from() -> None:
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(20):
        prompt = rng.integers(0, 1000, 60).tolist()
        texts.append((prompt, prompt[10:40]))
    prior = counted(texts, "greedy")
    assert prior.mode == "greedy"
    assert all(cell.key.startswith(f"{TABLE}:") for cell in prior.cells)
    assert sum(cell.trials for cell in prior.cells) <= 20 * 30
    started, built_in = ChainAcceptance(table_of(prior)), ChainAcceptance(table_of(None))
    longest = (N_LENGTH - 2) * N_SHARE
    assert started.log_odds[longest] > built_in.log_odds[longest]


def test_a_calibration_counts_what_earlier_outputs_say() -> None:
    rng = np.random.default_rng(0)
    output = rng.integers(0, 1000, 50).tolist()
    texts = [(rng.integers(1000, 2000, 20).tolist(), output) for _ in range(3)]
    cells = {int(cell.key.rpartition(":")[2]) for cell in counted(texts, "sample", memory_tokens=1000).cells}
    assert max(cells) >= N_CELLS // 2
    assert not any(int(cell.key.rpartition(":")[2]) >= N_CELLS // 2 for cell in counted(texts, "sample").cells)
