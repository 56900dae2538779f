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
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sampling import Sampling
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.verify import accept
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.policies.base import VerifyResult
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.policies.dytc.ablation import Ablation
from casspec.storage.errors import UnsupportedOption
from casspec.storage.schema import AcceptanceCell, AcceptancePrior
from tests.runtime.tiny import cold_matrix, repetitive_prompt, tiny_target


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


def test_only_candidates_under_visited_nodes_are_trials_and_all_of_those_are() -> None:
    """A node hangs under a visited one or nothing is known of it; unverified candidates count too (in shadow)."""
    target, counter, branch = tiny_target(seed=7), CellCounter(), 3
    table = CountingTable("retrieval", retrieval_prior_means(), counter)
    forward_ms = LatencyPredictor(builtin_latency(target)).forward_ms
    policy = DyTC(target.full_plan, forward_ms, [], cold_matrix(target), table=table, branch=branch, max_nodes=24)

    def counted() -> tuple[float, float]:
        return sum(cell.trials for cell in counter.cells()), sum(cell.accepted for cell in counter.cells())

    censored = shadowed = 0
    for seed in range(4):
        noise = GumbelNoise(seed, target.vocab_size)
        prompt = repetitive_prompt(40, seed)
        cache = target.new_cache(256)
        sequence = Sequence(target, cache, prompt, Sampling(0.7), noise, ForwardClock(target.device), True)
        policy.begin(sequence)
        for _ in range(15):
            before = counted()
            tree = policy.draft(sequence, 8)
            verified = sequence.verify(tree)
            path, emitted = accept(tree, verified.token_after)
            sequence.commit(path, emitted)
            policy.observe(sequence, VerifyResult(tree, path, emitted, verified))
            trials, accepted = (after - old for after, old in zip(counted(), before, strict=True))
            drafted_under_path = sum(len(tree.children(node)) for node in path)
            assert drafted_under_path <= trials <= len(path) * (branch + 1)
            assert len(path) - 1 <= accepted <= len(path)
            censored += len(tree) - 1 > drafted_under_path
            shadowed += trials > drafted_under_path
    assert censored > 0
    assert shadowed > 0


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


def test_an_unknown_answer_to_do_without_is_refused() -> None:
    with pytest.raises(UnsupportedOption, match="no answer 'luck'"):
        Ablation.of("leaf, luck")
