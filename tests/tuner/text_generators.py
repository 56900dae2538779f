"""A tiny model with a tokenizer, prompts for it, and decoders with known faults and known times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from casspec.runtime.decode import Decoder, Generation, Statistics
from casspec.runtime.model.target import TargetModel
from casspec.storage.schema import Mode
from casspec.tuner.bench.entries import Entry, TextGenerator
from casspec.tuner.bench.requests import decoded, request
from casspec.tuner.suites.prompts import Prompt
from casspec.tuner.suites.token_prompts import token_prompts
from tests.runtime import tiny

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ "
CONTEXT = 256

TEXTS = (
    ("copy", "the cat saw the cat and the cat saw "),
    ("copy", "one two one two one two one "),
    ("free", "Quick brown foxes jump over lazy dogs"),
    ("free", "Pack my box with five dozen jugs"),
)


def library_model(dtype: torch.dtype = torch.float32) -> LlamaForCausalLM:
    sizes = {"vocab_size": len(ALPHABET), "num_hidden_layers": 3, "max_position_embeddings": CONTEXT}
    return tiny.library_model(initializer_range=0.15, **sizes).to(dtype)


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a character."""
    model = Tokenizer(models.BPE({character: place for place, character in enumerate(ALPHABET)}, merges=[]))
    model.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=model)


def letters_target(dtype: torch.dtype = torch.float32) -> TargetModel:
    return TargetModel(library_model(dtype), tokenizer(), name="letters")


def prompts(count: int = len(TEXTS)) -> list[Prompt]:
    return [
        Prompt(id=f"p{place}", task=task, turns=(text,), half="reporting")
        for place, (task, text) in enumerate(TEXTS[:count])
    ]


def twins(place: int, n_tokens: int) -> tuple[TargetModel, int, int]:
    """A target whose greedy text of the first prompt of `n_tokens` tokens has at `place` one with an equal twin of higher index."""
    target = letters_target()
    (prompt,) = token_prompts(target, prompts(1))
    plain = Decoder(target, method="autoregressive")
    text = decoded(plain, request(prompt, "greedy", 0), prompt.token_ids, n_tokens)
    token = text[place]
    twin = next(other for other in range(token + 2, len(ALPHABET)) if other not in text)
    with torch.no_grad():
        target.library_model.lm_head.weight[twin] = target.library_model.lm_head.weight[token]
    return target, token, twin


class Altered:
    """Decodes with another generator and alters what comes out, on chosen calls of full length only."""

    def __init__(
        self, inner: TextGenerator, alter: Callable[[list[int]], list[int]], calls: Iterable[int] | None = None
    ) -> None:
        self._inner = inner
        self._alter = alter
        self._calls = None if calls is None else set(calls)
        self.count = 0

    def generate(self, input_ids: list[int], max_new_tokens: int, **options: Any) -> Generation:
        generation = self._inner.generate(input_ids, max_new_tokens=max_new_tokens, **options)
        if self._calls is None or self.count in self._calls:
            generation.token_ids = self._alter(generation.token_ids)
        self.count += 1
        return generation


def with_wrong_token(place: int) -> Callable[[list[int]], list[int]]:
    """The text with another token at `place`, where it is that long."""

    def alter(text: list[int]) -> list[int]:
        return [(token + 1) % len(ALPHABET) if index == place else token for index, token in enumerate(text)]

    return alter


class Scripted:
    """Emits the same tokens in stated times, and notes who was asked for what."""

    def __init__(self, name: str, decode_ms: float, log: list[tuple[str, tuple[int, ...], int]]) -> None:
        self._name = name
        self._decode_ms = decode_ms
        self._log = log

    def generate(self, input_ids: list[int], max_new_tokens: int, **options: Any) -> Generation:
        assert options["stop_token_ids"] == []
        self._log.append((self._name, tuple(input_ids), max_new_tokens))
        return Generation([1] * max_new_tokens, statistics(max_new_tokens, max_new_tokens, self._decode_ms))


def statistics(n_tokens: int, steps: int, decode_ms: float, prefill_ms: float = 0.0, **figures: Any) -> Statistics:
    return Statistics(
        verify_steps=steps, emitted_tokens=n_tokens, decode_ms=decode_ms, prefill_ms=prefill_ms, **figures
    )


def entry(
    method: str, decoder: TextGenerator, variant: str = "published", modes: tuple[Mode, ...] = ("sample", "greedy")
) -> Entry:
    return Entry(method, variant, decoder, modes)
