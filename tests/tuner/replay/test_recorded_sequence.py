"""A recorded text in place of the model."""

from __future__ import annotations

import numpy as np
import pytest

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.tree import CandidateTree
from casspec.tuner.recordings.offline_acceptance import PlanTrace
from casspec.tuner.recordings.traced_plan import TracedPlan
from casspec.tuner.replay.recorded_sequence import Drafting, RecordedText, noise_of
from tests.tuner.tiny import VOCAB
from tests.tuner.tiny_replay import RECORDINGS, SPARSE, forward_ms, of_mode


def test_a_recorded_text_is_drafted_with_the_noise_it_was_sampled_with() -> None:
    sampled, greedy = of_mode("sample")[0], of_mode("greedy")[0]
    (row,) = RecordedText(sampled, noise_of(sampled, VOCAB)).noise_rows(1)
    expected = GumbelNoise(sampled.seed, VOCAB).rows(len(sampled.prompt_tokens), 1)[0]
    assert row.of(range(VOCAB)) == expected.tolist()
    assert noise_of(greedy, VOCAB) is None


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
