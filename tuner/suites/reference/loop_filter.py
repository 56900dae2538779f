"""Greedy continuations of many prompts by the reference model, to tell those that loop from those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import torch

from casspec.runtime.loading.models import load_model
from casspec.tuner.suites.reference.suite_list import DATA_PACKAGE
from casspec.tuner.suites.repetition import repetition

N_GRAM = 8
TOKENS_BETWEEN_CHECKS = 8


class GreedyFilter:
    """The reference model in float32 with the library's own forward: the judge must not be what is judged."""

    def __init__(self, continuation_tokens: int, max_repetition: float):
        loaded = load_model(str(files(DATA_PACKAGE)), dtype="float32")
        self.tokenizer: Any = loaded.tokenizer
        self.model: Any = loaded.library_model
        self.continuation_tokens = continuation_tokens
        self.max_repetition = max_repetition
        self.max_repeated = max_repetition * (continuation_tokens - N_GRAM + 1)

    def token_ids(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    @torch.inference_mode()
    def judge(self, prompts: Sequence[Sequence[int]]) -> list[float | None]:
        """Repetition of each prompt's greedy continuation; None for one that loops too much or ends early.

        Prompts are left-padded into one batch. A row leaves it as soon as it is lost: at a check the 8-grams that
        repeat can only become more.
        """
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        rows = list(range(len(prompts)))
        generated: list[list[int]] = [[] for _ in prompts]
        verdicts: list[float | None] = [None] * len(prompts)
        cache = None
        for step in range(1, self.continuation_tokens + 1):
            output = self.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
            )
            cache = output.past_key_values
            next_ids = output.logits[:, -1].argmax(-1)
            for row, token in zip(rows, next_ids.tolist(), strict=True):
                generated[row].append(token)
            ids, positions = next_ids[:, None], positions[:, -1:] + 1
            mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
            if step % TOKENS_BETWEEN_CHECKS == 0:
                kept = [place for place, row in enumerate(rows) if not self._is_lost(generated[row])]
                if not kept:
                    return verdicts
                if len(kept) < len(rows):
                    index = torch.tensor(kept)
                    rows = [rows[place] for place in kept]
                    ids, positions, mask = ids[index], positions[index], mask[index]
                    cache.batch_select_indices(index)
        for row in rows:
            share = repetition(generated[row], N_GRAM)
            if not self._is_lost(generated[row]):
                verdicts[row] = share
        return verdicts

    def _is_lost(self, generated: list[int]) -> bool:
        n_grams = max(0, len(generated) - N_GRAM + 1)
        ended = self.tokenizer.eos_token_id in generated
        return ended or repetition(generated, N_GRAM) * n_grams > self.max_repeated
