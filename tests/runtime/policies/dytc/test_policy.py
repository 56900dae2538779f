"""What a step of DyTC counts as a trial."""

from __future__ import annotations

from casspec.runtime.decoding.acceptance import CellCounter, CountingTable, retrieval_prior_means
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.decoding.verify import accept
from casspec.runtime.latency.predictor import LatencyPredictor, builtin_latency
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.policies.base import VerifyResult
from casspec.runtime.policies.dytc import DyTC
from casspec.runtime.text.sampling import Sampling
from tests.runtime.tiny import cold_matrix, repetitive_prompt, tiny_target


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
