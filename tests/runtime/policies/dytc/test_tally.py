"""Trials are counted by drafter, and begin anew once they were taken."""

from __future__ import annotations

from casspec.runtime.decoding.acceptance import (
    LITERAL_AGREES,
    LITERAL_DIFFERS,
    LITERAL_NONE,
    LITERAL_STATES,
    N_GAP,
    CellCounter,
    CountingTable,
    is_literal,
    retrieval_prior_means,
)
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.verify import accept
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.policies.base import VerifyResult
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.policies.dytc.tally import Tally
from casspec.runtime.text.sampling import Sampling
from tests.runtime.tiny import cold_matrix, repetitive_prompt, tiny_target


def test_cells_are_counted_by_the_drafter_they_are_of() -> None:
    tally = Tally()
    for state, trials, right in ((LITERAL_AGREES, 5, 4), (LITERAL_DIFFERS, 7, 1), (LITERAL_NONE, 2, 0)):
        cell = (3 * LITERAL_STATES + state) * N_GAP + 2
        tally.trials[cell], tally.right[cell] = trials, right
    assert tally.taken([]) == {"prompt-lookup": (5, 4), "token-recycling": (9, 1)}
    assert tally.taken([]) == {}


def test_a_step_counts_what_a_calibration_counts() -> None:
    target, counter = tiny_target(seed=7), CellCounter()
    table = CountingTable("retrieval", retrieval_prior_means(), counter)
    forward_ms = LatencyPredictor(builtin_latency(target)).forward_ms
    policy = DyTC(target.full_plan, forward_ms, [], cold_matrix(target), table=table)
    cache, prompt = target.new_cache(256), repetitive_prompt(40, 3)
    noise = GumbelNoise(3, target.vocab_size)
    sequence = Sequence(target, cache, prompt, Sampling(0.7), noise, ForwardClock(target.device), True)
    policy.begin(sequence)
    for _ in range(15):
        tree = policy.draft(sequence, 8)
        verified = sequence.verify(tree)
        path, emitted = accept(tree, verified.token_after)
        sequence.commit(path, emitted)
        policy.observe(sequence, VerifyResult(tree, path, emitted, verified))
    expected: dict[str, tuple[float, float]] = {}
    for cell in counter.cells():
        name = "prompt-lookup" if is_literal(int(cell.key.rpartition(":")[2])) else "token-recycling"
        trials, right = expected.get(name, (0, 0))
        expected[name] = trials + cell.trials, right + cell.accepted
    assert policy.take_trials() == expected
    assert policy.take_trials() == {}
