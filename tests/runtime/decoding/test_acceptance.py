"""Online estimates: they start from the prior, follow the evidence, and count only what is known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casspec.runtime.decoding.acceptance import (
    AcceptanceTable,
    CellCounter,
    CountingTable,
    MergedTable,
    confidence_bucket,
    match_bucket,
    retrieval_prior_means,
    self_prior_means,
)
from casspec.storage.schema import AcceptanceCell, AcceptancePrior


def prior(*cells: tuple[str, float, float]) -> AcceptancePrior:
    rows = (AcceptanceCell(key=key, accepted=accepted, trials=trials) for key, accepted, trials in cells)
    return AcceptancePrior(mode="greedy", cells=tuple(rows))


def test_without_counts_the_built_in_means_hold() -> None:
    means = [0.1, 0.5, 0.9]
    assert AcceptanceTable("t", means).estimate == pytest.approx(means)


@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_an_estimate_follows_the_outcomes_of_its_own_cell(outcomes: list[bool]) -> None:
    table = AcceptanceTable("t", [0.5, 0.2])
    for accepted in outcomes:
        before = table.estimate[0]
        table.update(0, accepted)
        assert 0 < table.estimate[0] < 1
        assert (table.estimate[0] > before) == accepted
    assert table.estimate[1] == pytest.approx(0.2)


@given(st.integers(5, 100), st.integers(5, 100))
def test_recent_outcomes_weigh_more(n_accepted: int, n_rejected: int) -> None:
    rising, falling = AcceptanceTable("t", [0.5]), AcceptanceTable("t", [0.5])
    for table, order in ((rising, (False, True)), (falling, (True, False))):
        for accepted in order:
            for _ in range(n_accepted if accepted else n_rejected):
                table.update(0, accepted)
    assert rising.estimate[0] > falling.estimate[0]


def test_evidence_overtakes_any_prior() -> None:
    table = AcceptanceTable("t", [0.05], prior(("t:0", 0, 100_000)))
    for _ in range(400):
        table.update(0, True)
    assert table.estimate[0] > 0.8


def test_reset_returns_to_the_prior() -> None:
    table = AcceptanceTable("t", [0.3, 0.6], prior(("t:1", 9, 10)))
    start = list(table.estimate)
    table.update(0, True)
    table.update(1, False)
    assert table.estimate != start
    table.reset()
    assert table.estimate == start


def test_priors_of_other_tables_and_unknown_cells_are_passed_over() -> None:
    means = [0.3, 0.6]
    strange = (("other:0", 9, 10), ("t:7", 9, 10), ("t:-1", 9, 10), ("t:deep:1", 9, 10), ("t:x", 9, 10), ("t", 9, 10))
    assert AcceptanceTable("t", means, prior(*strange)).estimate == pytest.approx(means)


@pytest.mark.parametrize("trials", [1, 10, 10_000])
def test_a_counted_cell_lies_between_the_built_in_mean_and_the_counts(trials: int) -> None:
    estimate = AcceptanceTable("t", [0.2], prior(("t:0", trials, trials))).estimate[0]
    assert 0.2 < estimate < 1
    if trials == 10_000:
        assert estimate > 0.99


def test_counted_trials_make_the_prior_of_the_next_table() -> None:
    counter = CellCounter()
    table = CountingTable("t", [0.5, 0.5], counter)
    for accepted in (True, True, False):
        table.update(1, accepted)
    assert counter.cells() == (AcceptanceCell(key="t:1", accepted=2, trials=3),)
    made = AcceptancePrior(mode="greedy", cells=counter.cells())
    assert AcceptanceTable("t", [0.5, 0.5], made).estimate[1] > 0.5


def test_buckets_rise_with_the_evidence() -> None:
    assert match_bucket(0) == 0
    assert [match_bucket(n) for n in range(30)] == sorted(match_bucket(n) for n in range(30))
    gaps = [g / 4 for g in range(-60, 60)]
    assert [confidence_bucket(gap) for gap in gaps] == sorted(confidence_bucket(gap) for gap in gaps)


def test_built_in_curves_are_probabilities_that_rise_with_confidence() -> None:
    assert all(0 < mean < 1 for mean in retrieval_prior_means())
    for acceptance in (0.0, 0.3, 0.8, 1.0):
        means = self_prior_means(acceptance)
        assert means == sorted(means)
        assert all(0 < mean < 1 for mean in means)
        assert confidence_bucket(1e9) < len(means)


def test_a_merged_table_shares_one_estimate_a_group() -> None:
    counter = CellCounter()
    for cell, accepted, trials in ((0, 9, 10), (1, 1, 90), (2, 50, 100)):
        counter.add("t", cell, accepted, trials)
    prior = AcceptancePrior(mode="sample", cells=counter.cells())
    merged = MergedTable("t", [0.5, 0.5, 0.5], prior, [0, 0, 1])
    alone = AcceptanceTable("t", [0.5, 0.5, 0.5], prior)
    assert merged.estimate[0] == merged.estimate[1] == pytest.approx(10 / 100, abs=0.03)  # by trials, not by cells
    assert merged.estimate[2] == pytest.approx(alone.estimate[2])
    before = merged.estimate[2]
    merged.update(0, True)
    assert merged.estimate[0] == merged.estimate[1] > 0.1
    assert merged.estimate[2] == before
    merged.reset()
    assert merged.estimate[0] == pytest.approx(10 / 100, abs=0.03)
