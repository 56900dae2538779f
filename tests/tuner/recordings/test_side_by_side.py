"""Texts made side by side are those that are made one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from casspec.runtime.model.forward_input import CONTEXT_STEP
from casspec.runtime.model.target import TargetModel
from casspec.tuner.recordings.side_by_side import TextRecorder, TextWanted
from tests.tuner.tiny import VOCAB, slow_recorded, tiny_target

N_TOKENS = 12

PROMPTS = {
    "short": (5,),
    "middle": (1, 2, 3, 4, 5, 6, 7),
    "same": (1, 2, 3, 4, 5, 6, 7),
    "long": tuple(place % VOCAB for place in range(CONTEXT_STEP - N_TOKENS // 2)),
}
WANTED = [
    TextWanted(prompt_id, "task", tokens, mode)
    for mode, (prompt_id, tokens) in product(("sample", "greedy"), PROMPTS.items())
]


@pytest.fixture(scope="module", params=["llama", "gemma2"])
def target(request: pytest.FixtureRequest) -> TargetModel:
    return tiny_target(family=request.param)


@pytest.mark.parametrize(("most_together", "most_bytes"), [(16, 1 << 30), (3, 1 << 30), (16, 1), (1, 1 << 30)])
def test_texts_and_what_the_target_says_of_them_do_not_depend_on_company(target, most_together, most_bytes) -> None:
    make = TextRecorder(target, N_TOKENS, 0.7, 3, most_together, most_bytes)
    found = {(one.prompt_id, one.mode): one for one in make(WANTED)}
    assert len(found) == len(WANTED)
    for text in WANTED:
        mine, alone = found[text.prompt_id, text.mode], slow_recorded(target, text, N_TOKENS, 0.7, 3)
        for name in ("task", "seed", "temperature"):
            assert getattr(mine, name) == getattr(alone, name)
        for name in ("prompt_tokens", "continuation_tokens", "top_ids"):
            assert np.array_equal(getattr(mine, name), getattr(alone, name)), name
        assert mine.top_logits == pytest.approx(alone.top_logits, abs=1e-4)
        assert mine.top_ids.dtype == np.int32


def test_prompts_are_read_once_and_a_forward_serves_many_texts(target, monkeypatch) -> None:
    forwards = list[tuple[int, int]]()
    for name in ("forward", "hidden"):
        run = getattr(target, name)

        def counted(inputs, *rest, run=run):
            forwards.append(tuple(inputs.token_ids.shape))
            return run(inputs, *rest)

        monkeypatch.setattr(target, name, counted)
    list(TextRecorder(target, N_TOKENS, 0.7, 3)(WANTED))
    assert sum(batch == 1 for batch, _ in forwards) == len(set(PROMPTS.values()))
    assert [one for one in forwards if one[0] > 1] == [(len(WANTED), 1)] * N_TOKENS


def test_nothing_wanted_is_nothing_made(target) -> None:
    with torch.inference_mode():
        assert list(TextRecorder(target, N_TOKENS, 0.7, 3)([])) == []
