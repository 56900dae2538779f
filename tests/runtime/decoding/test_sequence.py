"""Replaying committed tokens: what a plan would have drafted, without touching the target's rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from casspec.runtime.decode import Decoder
from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.sampling import Sampling
from casspec.runtime.decoding.sequence import Sequence
from casspec.runtime.latency.timing import ForwardClock
from casspec.runtime.model.plan import Plan
from casspec.storage.schema import SkipSet
from tests.runtime.tiny import repetitive_prompt, run, tiny_target

TARGET = tiny_target(seed=7)
SPARSE = Plan.skipping(SkipSet(attention=(1,), mlp=(2,)), TARGET.n_layers)


@torch.inference_mode()
def sequence_of(tokens: list[int], sampling: Sampling, seed: int = 0) -> Sequence:
    noise = None if sampling.greedy else GumbelNoise(seed, TARGET.vocab_size)
    return Sequence(TARGET, TARGET.new_cache(256), tokens, sampling, noise, ForwardClock(TARGET.device))


@torch.inference_mode()
@pytest.mark.parametrize(("n_tokens", "copies"), [(1, 1), (9, 1), (39, 1), (4, 3)])
def test_a_replay_sees_the_targets_rows_before_and_its_own(n_tokens: int, copies: int) -> None:
    tokens = repetitive_prompt(40)
    sequence = sequence_of(tokens, Sampling())
    rows = sequence.cache.keys[:, :39].clone(), sequence.cache.values[:, :39].clone()
    logits = TARGET.forward(sequence.replay(n_tokens, copies), sequence.cache, SPARSE)[: n_tokens * copies]
    assert torch.equal(sequence.cache.keys[:, :39], rows[0])
    assert torch.equal(sequence.cache.values[:, :39], rows[1])

    cache, start = TARGET.new_cache(64), 39 - n_tokens
    if start:
        run(TARGET, cache, tokens[:start])
    expected = run(TARGET, cache, tokens[start:39], start, SPARSE)
    torch.testing.assert_close(logits, expected.repeat(copies, 1), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, top_k=6)], ids=str)
def test_the_target_itself_matches_every_token_it_emitted(sampling: Sampling) -> None:
    prompt = repetitive_prompt(20)
    request: dict[str, Any] = {"temperature": sampling.temperature, "top_k": sampling.top_k, "seed": 3}
    text = prompt + Decoder(TARGET, method="autoregressive").generate(prompt, 24, **request).token_ids
    sequence = sequence_of(text, sampling, seed=3)
    assert sequence.matches(TARGET.full_plan, 24) == 24
    assert sequence.matches(SPARSE, 24) < 24
    text[-5] = (text[-5] + 1) % TARGET.vocab_size
    assert sequence_of(text, sampling, seed=3).matches(TARGET.full_plan, 24) < 24
