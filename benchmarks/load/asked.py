"""What servers are asked: conversations of a suite, each with a number of its own, so that no server has the beginning of one already."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from benchmarks.load.servers import MODEL_NAME
from casspec.runtime.text.chat import chat_ids
from casspec.storage.errors import SuiteError
from casspec.storage.schema import Mode
from casspec.tuner.bench.requests import SAMPLING_TEMPERATURE
from casspec.tuner.suites.prompts import Prompt

CONTEXT_STEP = 64
FIRST_NUMBER, OTHER_NUMBER = 100_000, 500_000
"""Numbers have the same length, so a conversation has the same number of tokens whenever it is asked."""


@dataclass(frozen=True)
class Turn:
    """What every server is asked in its turn: `bodies`, by so many clients."""

    mode: Mode
    clients: int
    round: int
    bodies: tuple[Mapping[str, Any], ...]


def messages(prompt: Prompt, number: int) -> list[dict[str, str]]:
    """The prompt's first turn as a conversation that begins like no other."""
    told = f"{prompt.system or 'You are a helpful AI assistant.'} Conversation {number}."
    return [{"role": "system", "content": told}, {"role": "user", "content": prompt.text}]


def body(prompt: Prompt, number: int, mode: Mode, n_tokens: int) -> dict[str, Any]:
    """A streamed request for exactly `n_tokens`. Only the seed is left to defaults: vLLM on a processor ends at some that have one."""
    return {
        "model": MODEL_NAME,
        "messages": messages(prompt, number),
        "max_tokens": n_tokens,
        "ignore_eos": True,
        "temperature": SAMPLING_TEMPERATURE if mode == "sample" else 0.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }


def fitting(
    prompts: Sequence[Prompt], tokenizer: Any, n_tokens: int, max_context: int
) -> tuple[tuple[Prompt, ...], int]:
    """Prompts that leave room for `n_tokens` in `max_context`, and the context that the longest of them needs, rounded up.

    Raises SuiteError where there is none.
    """
    lengths = {prompt: len(chat_ids(tokenizer, messages(prompt, FIRST_NUMBER))) + n_tokens for prompt in prompts}
    found = tuple(prompt for prompt in prompts if lengths[prompt] <= max_context)
    if not found:
        raise SuiteError(f"no prompt of the suite leaves room for {n_tokens} new tokens in a context of {max_context}")
    longest = max(lengths[prompt] for prompt in found)
    return found, min(-(-longest // CONTEXT_STEP) * CONTEXT_STEP, max_context)


def turns(
    prompts: Sequence[Prompt],
    modes: Sequence[Mode],
    loads: Mapping[int, int],
    rounds: int,
    n_tokens: int,
    seed: int,
    first_number: int = FIRST_NUMBER,
) -> Iterator[Turn]:
    """Those of all rounds. The first are of round 0, which is not counted: one of the most clients in each mode.

    Args:
        loads: requests by number of clients.
        seed: of the order of prompts. first_number: of the first conversation.
    """
    numbers, order = count(first_number), random.Random(seed)

    def turn(mode: Mode, clients: int, which: int, requests: int) -> Turn:
        chosen: list[Prompt] = []
        while len(chosen) < requests:
            chosen += order.sample(prompts, len(prompts))
        bodies = tuple(body(prompt, next(numbers), mode, n_tokens) for prompt in chosen[:requests])
        return Turn(mode, clients, which, bodies)

    yield from (turn(mode, max(loads), 0, max(loads)) for mode in modes)
    for which in range(1, rounds + 1):
        yield from (turn(mode, clients, which, requests) for mode in modes for clients, requests in loads.items())
