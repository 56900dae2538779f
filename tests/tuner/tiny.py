"""A tiny random model and recordings of it: small enough that every exact answer can be computed the slow way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from casspec.runtime.decoding.noise import GumbelNoise
from casspec.runtime.decoding.successors import TOP_SUCCESSORS
from casspec.runtime.latency.predictor import builtin_latency
from casspec.runtime.model.plan import Plan
from casspec.runtime.model.target import TargetModel
from casspec.runtime.text.sampling import Sampling
from casspec.storage.schema import LatencyModel
from casspec.tuner.recordings.recording import Recording, prompt_seed
from casspec.tuner.recordings.side_by_side import TextWanted
from casspec.tuner.recordings.teacher_forcing import masked_input, teacher_forced
from tests.runtime.tiny import library_model

VOCAB = 53
LAYERS = 5


def tiny_target(seed: int = 0, n_layers: int = LAYERS, family: str = "llama") -> TargetModel:
    """A model with large random weights, so that its continuations and the effect of each sub-layer are not trivial."""
    sizes = {"vocab_size": VOCAB, "num_hidden_layers": n_layers, "max_position_embeddings": 1024}
    return TargetModel(library_model(family, seed=seed, initializer_range=0.15, **sizes), name="tiny")


def step_logits(target: TargetModel, rows: list[tuple[Plan, int]], tokens: list[int]) -> torch.Tensor:
    """Logits after the last token when position i's row was written by `rows[i]`'s plan in a forward of its own."""
    cache = target.new_cache(len(tokens))
    for position, (plan, token) in enumerate(zip((plan for plan, _ in rows), tokens, strict=True)):
        place = torch.tensor([position])
        visible = torch.ones(1, position + 1, dtype=torch.bool)
        logits = target.forward(masked_input(target, cache, torch.tensor([token]), place, place, visible), cache, plan)
    return logits[0]


def slow_decode(target: TargetModel, n_tokens: int) -> Callable[[list[int], Sampling, int], list[int]]:
    """Autoregressive decoding by definition: token i is argmax(log p~ + g_i)."""

    def decode(prompt: list[int], sampling: Sampling, seed: int) -> list[int]:
        noise = GumbelNoise(seed, target.vocab_size)
        cache = target.new_cache(len(prompt) + n_tokens)
        tokens, place = list(prompt), 0
        while len(tokens) < len(prompt) + n_tokens:
            new = torch.arange(place, len(tokens))
            visible = torch.arange(len(tokens))[None] <= new[:, None]
            inputs = masked_input(target, cache, torch.tensor(tokens[place:]), new, new, visible)
            logits = target.forward(inputs, cache, target.full_plan)[: len(new)][-1:]
            place = len(tokens)
            noise_rows = None if sampling.greedy else noise.rows(len(tokens), 1)
            tokens.append(int(sampling.tokens(logits, noise_rows)[0]))
        return tokens[len(prompt) :]

    return decode


def slow_recorded(target: TargetModel, text: TextWanted, n_tokens: int, temperature: float, seed: int) -> Recording:
    """A recording by definition: slow decoding, then what the target says after every token of the whole text."""
    noise_seed = prompt_seed(seed, text.prompt_id)
    sampling = Sampling(temperature=temperature if text.mode == "sample" else 0.0)
    continuation = slow_decode(target, n_tokens)(list(text.prompt_tokens), sampling, noise_seed)
    tokens = [*text.prompt_tokens, *continuation]
    cache = target.new_cache(len(tokens))
    logits = torch.cat([target.read(hidden) for _, hidden in teacher_forced(target, tokens, cache)])
    values, ids = logits.float().topk(min(TOP_SUCCESSORS, target.vocab_size), dim=-1)
    return Recording(
        prompt_id=text.prompt_id,
        task=text.task,
        mode=text.mode,
        seed=noise_seed,
        temperature=sampling.temperature,
        prompt_tokens=np.asarray(text.prompt_tokens, np.int32),
        continuation_tokens=np.asarray(continuation, np.int32),
        top_ids=ids.to(torch.int32).numpy(),
        top_logits=values.numpy(),
    )


def tiny_recordings(target: TargetModel, n: int = 4, n_tokens: int = 24) -> list[Recording]:
    """`n` recordings, greedy and sampled in turn."""
    generator = torch.Generator().manual_seed(7)
    recordings = []
    for i in range(n):
        prompt = torch.randint(VOCAB, (6 + 3 * i,), generator=generator).tolist()
        text = TextWanted(f"p{i}", "task", tuple(prompt), "sample" if i % 2 else "greedy")
        recordings.append(slow_recorded(target, text, n_tokens, temperature=0.7, seed=3))
    return recordings


def tiny_latency(target: TargetModel) -> LatencyModel:
    return builtin_latency(target)
