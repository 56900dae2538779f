"""Replay on a tiny float32 model: what it says of a decode is what a real decode does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casspec.runtime.decode import Decoder, Generation
from casspec.runtime.model.plan import Plan
from casspec.runtime.policies import build_policy
from casspec.runtime.policies.base import Policy
from casspec.runtime.policies.layer_sparse import LayerSparse
from casspec.tuner.recordings.offline_acceptance import AcceptanceMeter
from casspec.tuner.recordings.recording import Recording
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.replay.recorded_sequence import Drafting
from casspec.tuner.replay.simulate import replay
from tests.runtime.tiny import cold_matrix
from tests.tuner.tiny import VOCAB
from tests.tuner.tiny_replay import RECORDINGS, SPARSE, TARGET, drafting, forward_ms, of_mode, verify_ms

RETRIEVAL = {
    "autoregressive": {},
    "prompt-lookup": {"max_ngram": 2},
    "suffix": {"factor": 2.0},
    "token-recycling": {"n_nodes": 12, "coupled": True},
    "dytc": {"max_nodes": 12, "correct_latency": False},
}


def decoded(recording: Recording, policy: Policy) -> Generation:
    """The recording's prompt decoded for real."""
    decoder = Decoder(TARGET)
    decoder._policies[recording.mode] = policy
    return decoder.generate(
        recording.prompt_tokens.tolist(),
        max_new_tokens=len(recording.continuation_tokens),
        temperature=recording.temperature,
        seed=recording.seed,
        stop_token_ids=[],
    )


@pytest.mark.parametrize("mode", ["sample", "greedy"])
@pytest.mark.parametrize("method", RETRIEVAL)
def test_retrieval_replays_exactly_as_it_decodes(method: str, mode: str) -> None:
    matrix, parameters = cold_matrix(TARGET).to_bytes(), RETRIEVAL[method]
    for recording in of_mode(mode):
        policy = build_policy(method, TARGET, None, mode, parameters, matrix)
        replayed = replay(policy, [recording], VOCAB, verify_ms)
        real = decoded(recording, build_policy(method, TARGET, None, mode, parameters, matrix))
        assert real.token_ids == recording.continuation_tokens.tolist()
        assert replayed.verify_steps == real.statistics.verify_steps
        assert replayed.tree_nodes - replayed.verify_steps == real.statistics.drafted_tokens
        assert replayed.mean_acceptance_length == real.statistics.mean_acceptance_length


def test_a_chain_of_one_token_replays_exactly_when_it_was_traced_at_that_depth() -> None:
    for place, recording in enumerate(RECORDINGS):
        trace = AcceptanceMeter(TARGET, RECORDINGS).first_token(SPARSE, place)
        traced = TracedPlan({(recording.prompt_id, recording.mode): trace})
        plan_says = Drafting(lambda plan, traced=traced: traced, forward_ms)
        replayed = replay(LayerSparse(SPARSE, 1), [recording], VOCAB, verify_ms, drafting=plan_says)
        real = decoded(recording, LayerSparse(SPARSE, 1)).statistics
        assert (replayed.verify_steps, replayed.drafts) == (real.verify_steps, real.drafted_tokens)


def test_forwards_of_a_plan_are_charged_with_what_they_compute_anew() -> None:
    charged = []

    def draft_ms(plan: Plan, n_tokens: int, context: int) -> float:
        charged.append(n_tokens)
        return 3.0

    said = replace(drafting(SPARSE), draft_ms=draft_ms)
    (first, *_) = RECORDINGS
    free = replay(LayerSparse(SPARSE, 4), [first], VOCAB, verify_ms, drafting=replace(said, draft_ms=lambda *a: 0.0))
    paid = replay(LayerSparse(SPARSE, 4), [first], VOCAB, verify_ms, drafting=said)
    assert set(charged) == {1}, "a chain computes one new row a token"
    assert paid.method_ms == pytest.approx(free.method_ms + 3.0 * paid.drafts)
    assert paid.autoregressive_ms == free.autoregressive_ms
