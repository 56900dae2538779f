"""What a model says of a prompt: the probability of each of its tokens, after those before it."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from casspec.runtime.model.inputs import InputBuffers
from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.logprobs import TokenLogprobs, token_logprobs

CHUNK = 128
"""Tokens of a forward, unless said otherwise."""


@torch.inference_mode()
def prompt_logprobs(
    target: TargetModel, prompt: list[int], count: int, chunk: int = CHUNK
) -> Iterator[list[TokenLogprobs]]:
    """Of all tokens but the first, those of a forward at a time: whoever asks can do other things between two.

    Args:
        count: of the likeliest tokens at each place.
    """
    cache = target.new_cache(len(prompt) + 1)
    inputs = InputBuffers(cache.capacity, target.dtype, target.device)
    read = prompt[:-1]
    for start in range(0, len(read), chunk):
        part = read[start : start + chunk]
        logits = target.forward(inputs.causal(part, start), cache, target.full_plan)
        yield [
            token_logprobs(prompt[start + place + 1], logits[place], logits[place], count) for place in range(len(part))
        ]
