"""What every peer is asked: the same token ids, through the model's own chat template."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Literal

from casspec.storage.errors import SuiteError
from casspec.tuner.bench.requests import SAMPLING_TEMPERATURE
from casspec.tuner.suites.prompts import Prompt, prompt_ids, spread_over_tasks

Kind = Literal["greedy", "sample", "long"]

LONG_PROMPT_TOKENS = 1000
LONG_NEW_TOKENS = 8
"""A long prompt is asked for its first token; a few more show that it went on."""
CONTEXT_STEP = 64


@dataclass(frozen=True)
class Question:
    """A request that all peers answer."""

    id: str
    kind: Kind
    ids: tuple[int, ...]
    tokens: int
    """To be made, past any end of text."""
    seed: int

    @property
    def temperature(self) -> float:
        return SAMPLING_TEMPERATURE if self.kind == "sample" else 0.0

    def request(self) -> dict[str, Any]:
        """The line that a worker reads."""
        return {"ids": self.ids, "tokens": self.tokens, "temperature": self.temperature, "seed": self.seed}


def questions(
    prompts: Sequence[Prompt], tokenizer: Any, count: int, n_tokens: int, max_context: int, with_long: bool
) -> list[Question]:
    """`count` prompts spread over the tasks, each greedy and sampled, and one long prompt made of many where it is wanted.

    Prompts that leave no room for `n_tokens` in `max_context` are left out. Raises SuiteError where none is left.
    """
    encoded = {prompt.id: tuple(prompt_ids(prompt, tokenizer)) for prompt in prompts}
    fitting = [prompt for prompt in prompts if 0 < len(encoded[prompt.id]) <= max_context - n_tokens]
    if not fitting:
        raise SuiteError(f"no prompt of the suite leaves room for {n_tokens} new tokens in a context of {max_context}")
    chosen = spread_over_tasks(fitting, count)
    asked = [
        Question(prompt.id, kind, encoded[prompt.id], n_tokens, seed)
        for seed, prompt in enumerate(chosen)
        for kind in ("greedy", "sample")
    ]
    if with_long:
        ids = long_prompt(fitting, tokenizer, min(LONG_PROMPT_TOKENS, max_context - LONG_NEW_TOKENS))
        asked.append(Question("long", "long", ids, LONG_NEW_TOKENS, 0))
    return asked


def long_prompt(prompts: Sequence[Prompt], tokenizer: Any, most: int) -> tuple[int, ...]:
    """The texts of prompts, one after another, as one turn of at most `most` tokens and nearly as many."""
    words, ids = _words(prompts), tuple[int, ...]()
    text = ""
    while True:
        text += "".join(next(words) for _ in range(16))
        longer = tuple(prompt_ids(prompts[0].model_copy(update={"turns": (text,)}), tokenizer))
        if len(longer) > most:
            return ids or longer[:most]
        ids = longer


def _words(prompts: Sequence[Prompt]) -> Iterator[str]:
    for prompt in cycle(prompts):
        yield from (f"{word} " for word in prompt.text.split())
        yield "\n\n"


def context_for(asked: Sequence[Question]) -> int:
    """Tokens that an engine needs room for, rounded up."""
    longest = max(len(each.ids) + each.tokens for each in asked)
    return -(-longest // CONTEXT_STEP) * CONTEXT_STEP
