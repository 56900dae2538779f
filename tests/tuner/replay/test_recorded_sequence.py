"""A recorded text in place of the model."""

from __future__ import annotations

import numpy as np
import pytest

from casspec.runtime.decoding.tree import CandidateTree
from casspec.runtime.policies import build_policy
from casspec.tuner.recordings.offline_acceptance import PlanTrace
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.replay.recorded_sequence import Drafting, KeptNoise, RecordedText
from casspec.tuner.replay.simulate import replay
from tests.runtime.tiny import cold_matrix
from tests.tuner.tiny import VOCAB
from tests.tuner.tiny_replay import RECORDINGS, SPARSE, TARGET, forward_ms, of_mode, verify_ms


def test_noise_kept_between_replays_is_what_is_made_anew_and_no_more_than_asked_for_is_kept() -> None:
    first, second = of_mode("sample")
    kept = KeptNoise(VOCAB, most_bytes=4 * VOCAB * len(first.continuation_tokens))
    matrix = cold_matrix(TARGET).to_bytes()
    for recording in (first, second, first, second):
        policy = build_policy("dytc", TARGET, None, "sample", {}, matrix)
        assert replay(policy, [recording], VOCAB, verify_ms, noise=kept) == replay(
            policy, [recording], VOCAB, verify_ms
        )
    assert kept.of(first) is kept.of(first)
    assert kept.of(second) is not kept.of(second)
    assert kept.of(of_mode("greedy")[0]) is None


@pytest.mark.parametrize("agrees", [True, False])
def test_off_the_path_a_plan_agrees_with_drafted_tokens_as_often_as_on_it(agrees: bool) -> None:
    recording = RECORDINGS[0]
    truth = recording.continuation_tokens
    ids = (truth[:, None] + np.array([[0, 1] if agrees else [1, 2]])).astype(np.int32) % VOCAB
    gaps = np.tile(np.array([1.0, -1.0], np.float32), (len(truth), 1))
    trace = PlanTrace(ids, gaps, truth, np.ones(len(truth), np.int16))
    traced = TracedPlan({(recording.prompt_id, recording.mode): trace})
    text = RecordedText(recording, None, Drafting(lambda plan: traced, forward_ms))
    tree = CandidateTree(text.tokens[-1])
    tree.add(0, int(truth[0]))
    for _ in range(200):
        (on_path,) = text.propose(SPARSE, tree, [0], width=2)
        assert (on_path.tokens[0] == int(truth[0])) is agrees
    wrong = tree.add(0, int(truth[0] + 1) % VOCAB)
    tree.add(wrong, VOCAB + 7)  # nothing the plan would say by itself
    (astray,) = text.propose(SPARSE, tree, [wrong], width=2)
    assert (astray.tokens[0] == VOCAB + 7) is agrees
    assert len(set(astray.tokens)) == len(astray.tokens) == 2
