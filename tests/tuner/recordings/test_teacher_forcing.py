"""The target's rows of a known text, written chunk by chunk."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.model.target import TargetModel
from casspec.storage.errors import ContextOverflow
from casspec.tuner.recordings import teacher_forcing
from casspec.tuner.recordings.teacher_forcing import masked_input, teacher_forced
from tests.tuner.tiny import step_logits, tiny_target

TOKENS = [7, 3, 50, 3, 12, 9, 1, 44, 3, 20, 5]


@pytest.fixture(scope="module")
def target() -> TargetModel:
    return tiny_target()


def hidden_states(target: TargetModel, tokens: list[int]) -> tuple[list[int], torch.Tensor]:
    """Where chunks start, and the hidden state of every position."""
    with torch.inference_mode():
        chunks = [(start, found.clone()) for start, found in teacher_forced(target, tokens, target.new_cache(64))]
    return [start for start, _ in chunks], torch.cat([found for _, found in chunks])


def test_every_position_is_scored_as_if_the_text_had_been_decoded_up_to_it(target: TargetModel) -> None:
    _, hidden = hidden_states(target, TOKENS)
    with torch.inference_mode():
        logits = target.read(hidden)
        for position in (0, 4, len(TOKENS) - 1):
            rows = [(target.full_plan, place) for place in range(position + 1)]
            torch.testing.assert_close(logits[position], step_logits(target, rows, TOKENS[: position + 1]))


def test_chunks_change_nothing(target: TargetModel, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole_start,), whole = hidden_states(target, TOKENS)
    monkeypatch.setattr(teacher_forcing, "LONGEST_CHUNK", 4)
    starts, chunked = hidden_states(target, TOKENS)
    assert (whole_start, starts) == (0, [0, 4, 8])
    torch.testing.assert_close(chunked, whole)


def test_padding_writes_to_the_scratch_slot_alone(target: TargetModel) -> None:
    cache, places = target.new_cache(32), torch.tensor([0, 1, 2])
    visible = torch.ones(3, 3, dtype=torch.bool).tril()
    inputs = masked_input(target, cache, torch.tensor(TOKENS[:3]), places, places, visible)
    with torch.inference_mode():
        target.hidden(inputs, cache, target.full_plan)
    written = [slot for slot in range(cache.capacity) if cache.rows(0)[0][slot].abs().sum() > 0]
    assert written == [0, 1, 2]


def test_a_text_longer_than_the_cache_is_refused_before_a_forward(target: TargetModel) -> None:
    cache = target.new_cache(len(TOKENS))  # rounded up
    with pytest.raises(ContextOverflow):
        list(teacher_forced(target, [1] * (cache.capacity + 1), cache))
    assert not any(part.any() for part in cache.rows(0))
