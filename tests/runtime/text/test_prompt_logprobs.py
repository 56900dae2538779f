"""What is told of a prompt is what the library's own model says of it."""

from __future__ import annotations

import pytest
import torch

from casspec.runtime.text.prompt_logprobs import prompt_logprobs
from tests.runtime.tiny import repetitive_prompt, tiny_target

TARGET = tiny_target("qwen3", seed=7)


@pytest.mark.parametrize("chunk", [128, 7])
def test_probabilities_are_the_models_own(chunk: int) -> None:
    prompt = repetitive_prompt(40, seed=2)
    told = [one for part in prompt_logprobs(TARGET, prompt, 3, chunk) for one in part]
    logs = TARGET.library_model(torch.tensor([prompt])).logits[0].log_softmax(-1)
    assert [one.token for one in told] == prompt[1:]
    for place, one in enumerate(told):
        assert one.raw_logprob == pytest.approx(float(logs[place, one.token]), abs=1e-4)
        assert [token for token, _ in one.raw_top] == logs[place].topk(3).indices.tolist()


def test_one_token_is_after_nothing() -> None:
    assert list(prompt_logprobs(TARGET, [4], 1)) == []
