from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.model.target import TargetModel
from casspec.tuner.recordings.recording import Recording, prompt_seed, recycling_matrix, typical_context
from casspec.tuner.recordings.side_by_side import TextRecorder, TextWanted
from tests.tuner.tiny import VOCAB, step_logits, tiny_recordings, tiny_target


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return tiny_target()


@pytest.fixture(scope="module")
def recordings(target: TargetModel) -> list[Recording]:
    return tiny_recordings(target)


def test_turns_of_a_conversation_have_its_id_in_common(recordings) -> None:
    named = [replace(recordings[0], prompt_id=name) for name in ("81", "81#1", "81#12", "a#b", "a.py:10")]
    assert [one.conversation_id for one in named] == ["81", "81", "81", "a#b", "a.py:10"]


def test_bytes_give_the_recording_back_and_are_equal_for_equal_recordings(target, recordings) -> None:
    for recording in recordings:
        copy = Recording.from_bytes(recording.to_bytes())
        for name in ("prompt_id", "task", "mode", "seed", "temperature"):
            assert getattr(copy, name) == getattr(recording, name)
        for name in ("prompt_tokens", "continuation_tokens", "top_ids", "top_logits", "tokens"):
            assert np.array_equal(getattr(copy, name), getattr(recording, name))
        assert copy.to_bytes() == recording.to_bytes()


def test_top_successors_are_the_targets_own_at_every_position(target, recordings) -> None:
    recording = recordings[1]
    tokens = recording.tokens.tolist()
    for position in (0, len(recording.prompt_tokens) - 1, len(tokens) - 1):
        rows = [(target.full_plan, i) for i in range(position + 1)]
        values, ids = step_logits(target, rows, tokens[: position + 1]).topk(8)
        assert recording.top_ids[position].tolist() == ids.tolist()
        assert recording.top_logits[position] == pytest.approx(values.numpy(), abs=1e-4)


def test_greedy_text_follows_the_best_successor_and_sampled_text_does_not(recordings) -> None:
    for recording in recordings:
        first = len(recording.prompt_tokens)
        best = recording.top_ids[first - 1 : -1, 0]
        assert np.array_equal(best, recording.continuation_tokens) == (recording.mode == "greedy")


def test_noise_of_a_prompt_depends_on_its_id_and_the_seed_only(target) -> None:
    def sampled(prompt_id: str, seed: int) -> list[int]:
        text = TextWanted(prompt_id, "task", (1, 2, 3), "sample")
        (recording,) = TextRecorder(target, 12, 0.7, seed)([text])
        assert recording.seed == prompt_seed(seed, prompt_id)
        return recording.continuation_tokens.tolist()

    assert sampled("a", 0) == sampled("a", 0)
    assert sampled("a", 0) != sampled("b", 0)
    assert sampled("a", 0) != sampled("a", 1)
    assert 0 <= prompt_seed(0, "a") < 2**63


def test_recycling_matrix_is_the_mean_of_what_was_said_after_each_token(recordings) -> None:
    matrix = recycling_matrix(recordings, VOCAB)
    sums, places = np.zeros((VOCAB, VOCAB)), np.zeros(VOCAB)
    for recording in recordings:
        for token, ids, logits in zip(recording.tokens, recording.top_ids, recording.top_logits, strict=True):
            odds = np.exp(logits.astype(np.float64) - logits.max())
            sums[token, ids] += odds / odds.sum()
            places[token] += 1
    seen = places.nonzero()[0]
    for token in seen:
        means = sums[token] / places[token]
        ids = matrix.token_ids[token]
        assert len(set(ids.tolist())) == TOP_SUCCESSORS
        assert np.exp(matrix.logits[token]) == pytest.approx(means[ids], rel=1e-5)
        assert means[ids] == pytest.approx(np.sort(means)[::-1][:TOP_SUCCESSORS])
    unseen = sorted(set(range(VOCAB)) - set(seen.tolist()))
    assert (matrix.token_ids[unseen] == -1).all()


def test_costs_are_compared_halfway_through_the_texts(recordings: list[Recording]) -> None:
    halfway = [len(one.prompt_tokens) + len(one.continuation_tokens) / 2 for one in recordings]
    assert typical_context(recordings) == round(sum(halfway) / len(halfway))
    assert typical_context(recordings[:1]) == round(halfway[0])
    assert min(halfway) < typical_context(recordings) < max(halfway)
